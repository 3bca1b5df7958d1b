"""What is typed wrong is refused before anything slow begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from concertina.cli import main
from concertina.cli.inputs import check_data, check_file, check_output, fractions, names
from concertina.errors import DataError, InputError, StorageError


def test_shares_come_back_in_rising_order() -> None:
    assert fractions("1, 0.1,0.5") == (0.1, 0.5, 1.0)
    assert names(" p10,p50 ,") == ("p10", "p50")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.5,half", "numbers joined by commas"),
        ("", "numbers joined by commas"),
        ("0,1", "above 0 and up to 1"),
        ("0.5,1.5", "got 1.5"),
        ("nan", "above 0 and up to 1"),
        ("0.5,0.50", "each share once"),
    ],
)
def test_wrong_shares_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fractions(text)


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here.npz").write_bytes(b"")
    check_data(f"{tmp_path}/here.npz@part=test")
    check_data("zoo:digits@train")
    with pytest.raises(DataError, match=r"gone\.npz' is not there"):
        check_data(f"{tmp_path}/gone.npz@part=test")


def test_outputs_are_checked_before_work(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"")
    check_output(tmp_path / "new", replace=False)
    check_output(tmp_path / "old", replace=True)
    with pytest.raises(StorageError, match=r"is there already\. Give --yes"):
        check_output(tmp_path / "old", replace=False)
    with pytest.raises(StorageError, match=r"folder '.*none' is not there"):
        check_output(tmp_path / "none" / "new", replace=False)


def test_a_family_file_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        check_file(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        check_file(tmp_path / "gone.concertina")


FIT = ["fit", "--data", "zoo:digits@train", "--validation", "zoo:digits@validation", "-o"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "network: got none; allowed: one"),
        (["zoo:mlp", "--arch", "zoo:mlp"], "network: got zoo:mlp and zoo:mlp"),
        (["zoo:mpl"], "Did you mean 'mlp'?"),
        (["zoo:mlp", "--recipe", "sandwitch"], "Did you mean 'sandwich'?"),
        (["zoo:mlp", "--criterion", "tailor"], "Did you mean 'taylor'?"),
        (["zoo:mlp", "--points", "2"], "above 0 and up to 1"),
        (["zoo:mlp", "--data", "gone.npz"], "'gone.npz' is not there"),
    ],
)
def test_fit_refuses_early(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*FIT, str(tmp_path / "out.concertina"), *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["--share", "0.5", "--macs", "100"]])
def test_extract_wants_one_budget(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.concertina").write_bytes(b"")
    assert main(["extract", str(tmp_path / "a.concertina"), "-o", str(tmp_path / "out"), *words]) == 2
    assert "exactly one of --point, --share" in capsys.readouterr().err
