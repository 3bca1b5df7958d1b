"""The verbs on a real family file, from fit to report, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import concertina as ct
from concertina.cli import main

FIT = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "--validation", "zoo:digits@test", "--points", "0.25,1"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "mlp.concertina"
    assert main([*FIT, "--epochs", "1", "--quiet", "-o", str(path)]) == 0
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_inspect_shows_what_the_file_holds(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = said(capsys, "inspect", str(fitted))
    assert facts["source"] == "zoo:mlp"
    assert [point["point"] for point in facts["points"]] == ["p25", "p100"]
    assert facts["size bytes"] == fitted.stat().st_size
    assert not list(fitted.parent.glob("*.fit"))


def test_inspect_shows_the_groups_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    facts = said(capsys, "inspect", "zoo:mlp")
    assert any(group["elastic"] for group in facts["groups"])
    assert all(group["elastic"] or group["why not"] for group in facts["groups"])


def test_a_family_is_trained_further(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "--epochs", "1", "--start", str(fitted)]
    facts = said(capsys, *words, "-o", str(tmp_path / "more.concertina"))
    assert [point["point"] for point in facts["points"]] == ["p25", "p100"]
    provenance = ct.open(tmp_path / "more.concertina").evidence.provenance
    assert provenance["trained before"].split(",")[0].endswith("steps of sandwich")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--start", "nowhere.concertina"], "'nowhere.concertina' is not there"),
        (["--start", "{}", "--points", "0.5"], "--points: got with --start; allowed: one of both."),
        (["--start", "{}", "--worth", "latency"], "--worth: got with --start"),
        (["--start", "{}", "-o", "{}", "--yes"], "is read by this command and cannot be its output"),
        (["--start", "{}", "--weights", "random"], "a family of another core"),
    ],
)
def test_what_does_not_go_with_a_start_is_refused(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    typed = [word.format(fitted) for word in words]
    output = [] if "-o" in typed else ["-o", str(tmp_path / "more.concertina")]
    assert main(["fit", "zoo:mlp", "--data", "zoo:digits@train", "--epochs", "1", *typed, *output]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_inspect_answers_before_anything_is_run(fitted: Path) -> None:
    program = (
        "import sys\nfrom concertina.cli import main\n"
        f"code = main(['inspect', {str(fitted)!r}])\nsys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "p25" in done.stdout


def test_measure_gives_figures_with_their_spread(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", str(fitted), "--data", "zoo:digits@validation", "--points", "p25"]
    rows = said(capsys, *words)
    accuracy = next(row for row in rows if row["metric"] == "accuracy" and not row["scope"])
    assert {row["point"] for row in rows} == {"p25"}
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert main([*words[:-1], "p33"]) == 2
    assert "p25, p100" in capsys.readouterr().err


def test_measure_prints_a_line_a_point(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", str(fitted), "--data", "zoo:digits@validation", "--latency", "--quiet"]
    assert main(words) == 0
    titles, small, large, *notes = capsys.readouterr().out.strip().split("\n")
    assert " ".join(titles.split()).startswith("point MACs share accuracy 95% interval samples worst class ms, median")
    assert re.match(r"p25 +8,064 +24\.1% +\d+\.\d% +\d+\.\d to \d+\.\d +", small)
    assert large.split()[:3] == ["p100", "33,408", "100%"]
    assert notes[0] == "ms: batch=1 threads=1"
    assert main([*words, "--verbose"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^p100 +macs +- +33,408 ", text, re.MULTILINE)
    assert text.count(" recall ") == 20
    assert not re.search(r"e\+0| -0\.", text)


def test_data_that_is_held_out_from_nothing_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "zoo:mlp", "--points", "1", "--epochs", "0", "-o", str(tmp_path / "x")]
    assert main([*words, "--data", "zoo:digits@test", "--validation", "zoo:digits@test"]) == 0
    assert "the validation data is the training data" in capsys.readouterr().err


def test_extract_writes_the_point_that_fits(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = said(capsys, "extract", str(fitted), "--share", "0.5", "-o", str(tmp_path / "half"))
    assert facts["point"] == "p25"
    assert {"model.safetensors", "slim.json"} <= {path.name for path in (tmp_path / "half").iterdir()}
    assert main(["extract", str(fitted), "--macs", "1", "-o", str(tmp_path / "none")]) == 2
    assert (
        "no operating point fits --macs 1: allowed: 8,064 MACs or more (the smallest point, 'p25')"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "none").exists()


def test_report_writes_one_page(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert said(capsys, "report", str(fitted), "-o", str(page)) == {"page": str(page)}
    assert "p25" in page.read_text(encoding="utf-8")
    assert main(["report", str(fitted), "-o", str(page)]) == 2
    assert "Give --yes to replace it" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["inspect", "measure", "extract", "report"])
def test_a_file_of_another_kind_is_one_clear_message(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.concertina"
    other.write_bytes(b"PK\x03\x04 this is something else" * 10)
    more = {"measure": ["--latency"], "extract": ["--share", "1", "-o", str(tmp_path / "out")]}
    more["report"] = ["-o", str(tmp_path / "out.html")]
    assert main([verb, str(other), *more.get(verb, [])]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1
    assert "Traceback" not in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["other.concertina"]


def test_ctrl_c_says_how_to_go_on_and_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "mlp.concertina"
    words = [sys.executable, "-m", "concertina", *FIT, "--epochs", "5000", "-o", str(path)]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as run:
        assert run.stderr is not None
        heard = next((line for line in run.stderr if line.startswith("training")), "")
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate(timeout=120)
    assert heard
    assert run.returncode == 130
    assert rest.endswith(f"--epochs 5000 -o {path} --resume\n")
    assert [found.name for found in tmp_path.iterdir()] == ["mlp.concertina.fit"]
    assert main([*FIT, "--epochs", "5000", "-o", str(path)]) == 2
