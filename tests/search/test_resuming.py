"""A search that was stopped anywhere goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.search.subjects import measured, searched, study

from concertina.errors import ResumeError, StorageError
from concertina.search import STRATEGIES, Journal
from concertina.search.journal import Entry
from concertina.types import SubnetSpec

RUN = {"seed": 0, "data": "abc"}


def journal(path: Path, **changed: object) -> Journal:
    return Journal(path, {**RUN, **changed}, resume=True)


def run(strategy: str, path: Path, trials: int) -> list[tuple[str, float]]:
    made = study(strategy, journal(path))
    made.run(measured, trials, lambda _stage, _done: None)
    return [(trial.spec.text, trial.value) for trial in made.trials]


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_going_on_gives_what_a_run_never_stopped_gives(name: str, tmp_path: Path) -> None:
    whole = [(trial.spec.text, trial.value) for trial in searched(name, 24)]
    for stop in (0, 1, 13, 18, 23):
        path = tmp_path / f"{stop}.search"
        run(name, path, stop)
        assert run(name, path, 24) == whole, f"stopped after {stop}"


def test_a_line_cut_in_writing_is_measured_again(tmp_path: Path) -> None:
    whole = run("random", tmp_path / "whole.search", 8)
    text = (tmp_path / "whole.search").read_bytes()
    for end in range(len(text) - 1, 0, -97):
        path = tmp_path / "cut.search"
        path.write_bytes(text[:end])
        assert run("random", path, 8) == whole
        assert path.read_bytes() == text


def test_another_search_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "one.search"
    run("random", path, 4)
    with pytest.raises(ResumeError, match="belongs to another search: got another data"):
        journal(path, data="xyz")


@pytest.mark.parametrize("text", [b"hello\n", b'{"search": 1}\n', b"\xff\xfe\n", b"[1, 2]\n"])
def test_what_is_no_journal_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.search"
    path.write_bytes(text)
    with pytest.raises(ResumeError, match=r"no journal|another search"):
        journal(path)
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    "line", ["{}", '{"round": 0, "spec": "a=1", "value": NaN}', '{"round": 0, "spec": 3, "value": 1}']
)
def test_a_line_that_is_no_measurement_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "one.search"
    journal(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ResumeError, match="is no measurement"):
        journal(path)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_measurements_that_were_not_asked_for_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "one.search"
    kept = journal(path)
    for number, trial in enumerate(searched("random", 3, seed=99)):
        kept.add(Entry(number, trial.spec, trial.value))
    with pytest.raises(ResumeError, match="other specs than this search asks for"):
        study(name, journal(path)).ask()


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"one\.search"):
        journal(tmp_path / "missing" / "one.search")
    kept = journal(tmp_path / "one.search")
    (tmp_path / "one.search").unlink()
    (tmp_path / "one.search").mkdir()
    with pytest.raises(StorageError, match=r"one\.search"):
        kept.add(Entry(0, SubnetSpec.of({"a": 1}), 0.5))
