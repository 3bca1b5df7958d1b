"""`concertina bench`: one run file holds all that is told, and what is told can be read back from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.bench import THEMES, Figures, FromFile, Source, run_bench, told
from concertina.bench import base as bench_base
from concertina.bench import run as bench_run
from concertina.bench.byhand import by_hand
from concertina.bench.exported import CONTROL, Plan, measure, records
from concertina.bench.figures import FAMILY
from concertina.bench.memory import LARGEST, SEPARATE, storage_bytes
from concertina.bench.peers import EQUAL_COST, EQUAL_EPOCHS
from concertina.bench.run import figures_of
from concertina.bench.switching import _median
from concertina.bench.verdicts import Bar, at_least, at_most, faster, rows
from concertina.cli import main
from concertina.errors import UnknownNameError
from concertina.family.rivals import NAIVE, UNTUNED
from concertina.measure.latency import LatencyResult
from concertina.measure.probe import Sample
from concertina.measure.runs import Run, read_run, write_run
from concertina.types import Record

POINTS = (0.2, 0.5, 1.0)
SOURCE = Source("zoo:mlp", "zoo:digits@train", "zoo:digits@test", POINTS, {"epochs": 1.0})
SHORT = replace(
    bench_base.FULL, large="digits-cnn", repeats=1, latency_s=0.1, tries=1, batches=(1,), exported_batches=(32,)
)
TORCH_ALONE = {"eager": "2", "onnx": "", "openvino": ""}
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run() -> Run:
    """Return a short run of all themes on the smallest networks, where no other runtime is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_run, "FULL", SHORT)
        patch.setattr("concertina.bench.subjects.LARGE_POINTS", (0.4, 1.0))
        for room in ("run", "speed", "runtimes"):
            patch.setattr(f"concertina.bench.{room}.installed", lambda: TORCH_ALONE)
        patch.setattr("concertina.bench.files.EXPORTED", "missing")
        return run_bench(SOURCE, quick=False)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a family file that was made without training."""
    path = tmp_path_factory.mktemp("bench") / "mine.concertina"
    core = ct.load("zoo:mlp")
    ct.fit(core, ct.open_data("zoo:digits@validation", preprocess=core.preprocess), points=POINTS, epochs=0).save(path)
    return path


def test_what_is_told_comes_from_the_run_file_alone(run: Run, tmp_path: Path) -> None:
    text = told(run)
    assert told(read_run(write_run(tmp_path, run))) == text
    for name in THEMES.names():
        assert f"### {THEMES.get(name)().title}\n" in text
    assert all(line.startswith("|") == line.endswith("|") for line in text.split("\n"))
    assert "onnxruntime is not installed, so it was not timed. pip install" in text.replace("Run: ", "")


def test_rivals_stand_beside_every_smaller_point(run: Run) -> None:
    figures = figures_of(run)
    for place in figures.places["mlp"][:-1]:
        for who in (FAMILY, NAIVE, UNTUNED, EQUAL_EPOCHS, EQUAL_COST):
            assert figures.one("quality", "mlp", who, place) is not None, who
        for who in (NAIVE, UNTUNED, EQUAL_EPOCHS, EQUAL_COST):
            found = figures.one("family_minus", "mlp", who, place)
            assert found is not None, who
            assert found.low <= found.value <= found.high
    spent = [figures.one("training_macs", "mlp", EQUAL_COST, place).value for place in figures.places["mlp"][:-1]]
    ours = figures.one("training_macs", "mlp", FAMILY).value
    assert sum(spent) == pytest.approx(ours, rel=0.07)  # whole steps of 128 samples, of which there are few


def test_bytes_are_those_of_the_files(run: Run) -> None:
    figures = figures_of(run)
    for subject in figures.places:
        assert figures.one("bytes_too_many", subject, FAMILY).value == 0
        whole, separate = (figures.one("all_bytes", subject, w) for w in (FAMILY, "safetensors, one a size"))
        assert whole.value < separate.value
        held = [figures.one("memory_bytes", subject, who).value for who in (LARGEST, FAMILY, SEPARATE)]
        assert held == sorted(held)
        assert figures.one("memory_over", subject, FAMILY).value == pytest.approx(1.0, abs=0.01)


def test_every_bar_stands_in_a_row_with_its_verdict(run: Run) -> None:
    figures = figures_of(run)
    bars = [bar for name in THEMES.names() for bar in THEMES.get(name)().bars(figures)]
    found = rows(bars)
    assert {row[-1].split(" (")[0] for row in found} <= {"met", "not met", "not resolved"}
    assert {row[0].split(": ", 1)[-1].split(",")[0] for row in found} >= {
        *("full point minus the core", "file over full weights and private tensors", "switching", "a copy"),
        *("points minus Torch-Pruning", "a view over its copy", "bytes read to run a point"),
    }
    assert all(f"| {' | '.join(row)} |" in told(run) for row in found)


def test_noise_and_few_samples_give_no_verdict() -> None:
    wide, sharp = Record("", "x", 1.0, "", low=0.8, high=1.2), Record("", "x", 1.0, "", low=0.99, high=1.01)
    assert [at_most(wide, limit) for limit in (1.3, 1.1, 0.7)] == ["met", "not resolved", "not met"]
    assert [at_least(wide, limit) for limit in (0.7, 1.1, 1.3)] == ["met", "not resolved", "not met"]
    assert at_most(sharp, 1.3, doubt=True) == at_least(sharp, 0.5, doubt=True) == "not resolved"
    assert faster(sharp, 1.3, doubt=True) == "met"  # a time that is short beside noise is short
    assert faster(sharp, 0.9, doubt=True) == "not resolved"
    assert faster(sharp, 0.9, doubt=False) == "not met"


def test_a_row_tells_the_worst_of_its_points() -> None:
    bars = [
        Bar("a", "<= 1", "0.5", "met", 0.5, "p10"),
        Bar("a", "<= 1", "1.5", "not met", -0.5, "p25"),
        Bar("a", "<= 1", "1.2", "not resolved", -0.2, "p50"),
        Bar("b", "<= 1", "0.9", "met", 0.1),
    ]
    assert rows(bars) == [("a", "<= 1", "1.5 at p25", "-", "not met (1 of 3 met)"), ("b", "<= 1", "0.9", "-", "met")]


@pytest.mark.parametrize("mark", [" unresolved", " ungated", ""])
def test_latencies_of_a_busy_machine_are_not_judged(run: Run, mark: str) -> None:
    place = replace(figures_of(run).places["mlp"][0], spec="x")
    where = f"mlp/view over copy, eager, batch 1{mark}"
    slow = Record("x", "latency_ratio", 1.5, "ratio", scope=where)
    control = Record("x", "latency_control", 1.1, "ratio", scope=where)
    (bar,) = THEMES.get("speed")().bars(Figures([slow, control], {"mlp": [place]}))
    assert (bar.verdict, bar.control) == ("not resolved" if mark else "not met", "1.100")


@pytest.mark.parametrize("control", [1.0, 1.5])
def test_short_calls_get_more_samples_where_the_machine_is_quiet(
    control: float, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def instead(runners: dict[str, object], *, min_samples: int = 30, **_more: object) -> dict[str, LatencyResult]:
        asked.append(min_samples)
        status = "ok" if control == 1.0 else "unresolved"
        return {
            name: LatencyResult(name, status, "", 1.0, 1.0, 0.9, 1.1, 30, 0, "clean", True, 1, 1, control)
            for name in runners
        }

    monkeypatch.setattr("concertina.bench.speed.latency", instead)
    monkeypatch.setattr("concertina.bench.speed.SHARES", (0.5,))
    run_bench(FromFile(file), quick=True, themes=("speed",))
    assert asked == ([30, 375] if control == 1.0 else [30, 30])  # 3 s, half of it, four calls of 1 ms a round


def test_switching_counts_clean_samples_where_there_are_any() -> None:
    clean, dirty, unknown = Sample(1.0, 0.0), Sample(9.0, 0.9), Sample(5.0, None)
    assert (_median([clean, dirty], "a/b").value, _median([clean, dirty], "a/b").scope) == (1.0, "a/b")
    assert _median([dirty], "a/b").scope == "a/b unresolved"
    assert _median([unknown], "a/b").scope == "a/b ungated"


def test_every_runtime_has_a_control_of_its_own(file: Path) -> None:
    family = ct.open(file)
    points = (family.points[0], family.points[-1])
    timed = measure(Plan(family, points, ("eager",), limit_s=0.2, tries=1), {}, 1, 1)
    assert set(timed) == {("eager", point.name) for point in points} | {("eager", CONTROL)}
    made = records(Plan(family, points, ("eager",), limit_s=0.2, tries=1), timed)
    full = [record for record in made if record.spec == points[-1].spec.text]
    assert {record.metric for record in full} >= {"latency_ms_median", "latency_control", "latency_speed_up"}
    assert next(record.value for record in full if record.metric == "latency_speed_up") == 1.0


def test_a_file_of_one_s_own_needs_no_data(file: Path) -> None:
    themes = ("quality", "files", "memory", "switching")
    bare = run_bench(FromFile(file), quick=True, themes=themes)
    assert [subject["name"] for subject in bare.settings["subjects"]] == ["mine"]
    assert "there is no data for it" in told(bare)
    full = run_bench(FromFile(file, "zoo:digits@test"), quick=True, themes=("quality",))
    assert figures_of(full).who("quality", "mine") == ["the core", FAMILY, NAIVE, UNTUNED]


def test_a_name_of_a_file_cannot_break_the_tables(file: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a | b\x1b[31m unresolved.concertina"
    odd.write_bytes(file.read_bytes())
    run = run_bench(FromFile(odd), quick=True, themes=("memory",))
    assert "a-b-31m-unresolved, 3 points" in told(run)
    assert len(figures_of(run).who("memory_bytes", "a-b-31m-unresolved")) == 3


def test_a_file_that_is_cut_is_refused_in_words_that_fit(file: Path, tmp_path: Path, capsys: Capsys) -> None:
    cut = tmp_path / "cut.concertina"
    cut.write_bytes(file.read_bytes()[:-2000])
    assert main(["bench", str(cut), "-q", "-o", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "Get the rest of the file." in captured.err
    assert "--upto" not in captured.err


def test_a_network_of_one_s_own_has_rivals_cut_from_its_full_point(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    core = ct.load(network, torch.randn(2, 1, 8, 8))
    path, held = tmp_path / "own.concertina", ct.open_data("zoo:digits@test", preprocess=core.preprocess)
    ct.fit(core, held, points=POINTS, epochs=0).save(path)
    found = figures_of(run_bench(FromFile(path, held, network), quick=True, themes=("quality", "switching")))
    assert found.who("quality", "own") == [FAMILY, UNTUNED]
    assert found.who("switch_ms_median", "own")[0] == FAMILY
    assert main(["bench", str(path), "-q", "-o", str(tmp_path)]) == 2


def test_a_network_built_by_hand_computes_the_same_and_shares_nothing() -> None:
    for name in ("zoo:digits-cnn", "zoo:tiny-vit", "zoo:mlp"):
        core = ct.load(name)
        made = by_hand(core.module)
        assert torch.equal(made(*core.example_inputs), core.module(*core.example_inputs))
        assert storage_bytes([made, core.module]) == 2 * storage_bytes([core.module])


def test_shared_storage_counts_once() -> None:
    layer = nn.Linear(8, 8, bias=False)
    part = nn.Linear(4, 8, bias=False)
    part.weight = nn.Parameter(layer.weight.detach()[:, :4])
    assert storage_bytes([layer, part]) == 8 * 8 * 4


def test_the_verb_writes_one_run_and_prints_markdown(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr("concertina.bench.run_bench", lambda *_words, **_more: run)
    assert main(["bench", "--quick", "-q", "-o", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out == told(run) + "\n"
    (path,) = (tmp_path / "runs").iterdir()
    assert read_run(path).records == run.records
    assert main(["bench", "--quick", "-q", "--json", "-o", str(tmp_path / "runs")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["markdown"] == told(run)
    assert {row["verdict"].split(" (")[0] for row in printed["verdicts"]} <= {"met", "not met", "not resolved"}
    assert main(["bench", "--themes", "qualty", "-o", str(tmp_path)]) == 2
    assert "Did you mean 'quality'" in capsys.readouterr().err


def test_a_run_file_names_no_folder_of_the_machine(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    said: list[str] = []

    def instead(*_words: object, command: str, **_more: object) -> Run:
        said.append(command)
        return run

    monkeypatch.setattr("concertina.bench.run_bench", instead)
    data = tmp_path / "held.npz"
    data.touch()
    assert main(["bench", str(file), "--data", f"{data}@part=test", "-q", "--quick", "-o", str(tmp_path)]) == 0
    assert said == ["concertina bench mine.concertina --quick --data held.npz@part=test"]


def test_a_theme_that_is_not_there_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UnknownNameError, match="unknown theme"):
        run_bench(SOURCE, quick=True, themes=("speeed",))
