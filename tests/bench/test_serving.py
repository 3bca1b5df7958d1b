"""`concertina bench serve`: arrivals, a client that hides no wait, and verdicts that follow from the run file alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import concertina as ct
from concertina.bench.serving import reached, told
from concertina.bench.serving.arrivals import Phase, arrivals
from concertina.bench.serving.generator import Client, plain, request_head
from concertina.bench.serving.records import AGAIN, arm_records, compared, contenders
from concertina.bench.serving.run import RUN_THEME
from concertina.bench.serving.scenarios import SCENARIOS, load_of, overload
from concertina.bench.serving.trial import Arm, Trial
from concertina.cli import main
from concertina.errors import ConcertinaError
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Record

POINTS = ("p25", "p50", "p100")
STALL_S = 0.25


def test_arrivals_have_their_rates_and_are_the_same_for_a_seed() -> None:
    phases = (Phase(1000.0, 2.0), Phase(100.0, 2.0))
    times = arrivals(phases, 3)
    assert times == arrivals(phases, 3) != arrivals(phases, 4)
    assert times == sorted(times)
    counts = [sum(start <= time < start + 2 for time in times) for start in (0.0, 2.0)]
    assert counts == pytest.approx([2000, 200], rel=0.2)
    assert sum(counts) == len(times)


class Stalling(BaseHTTPRequestHandler):
    """Answers each request by its own number; item 1 only after a stall, item 2 with a refusal, item 3 never."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        number = body[-1]
        if number == 3:
            self.close_connection = True
            return
        time.sleep(STALL_S if number == 1 else 0.0)
        told = json.dumps({"model_version": "p50"}).encode()
        self.send_response(503 if number == 2 else 200)
        self.send_header("Content-Length", str(len(told) + 1))
        self.send_header("Inference-Header-Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told + bytes([number]))

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Return the port of a server that stalls."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_requests_are_sent_when_they_are_due_whoever_still_waits(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concertina.bench.serving.generator.READY_CONNECTIONS", 2)
    head = request_head("/v2/models/m/infer", "h", b"{}", 1)
    client = Client("127.0.0.1", port, [(head, memoryview(bytes([item]))) for item in range(4)])
    due = [0.0, 0.01, 0.02, 0.03, 0.04]
    found = client.run(due, [0, 1, 0, 2, 3], patience_s=1.0)
    replies = [plain(reply) for reply in found["replies"]]
    assert [reply["status"] for reply in replies] == [200, 200, 200, 503, 0]
    assert [reply["output"] for reply in replies[:3]] == ["00", "01", "00"]
    assert replies[0]["point"] == "p50"
    assert found["sent"][2] < found["done"][1]
    assert found["done"][1] - due[1] >= STALL_S
    assert all(sent >= when for sent, when in zip(found["sent"], due, strict=True))


def trial(arm: Arm, share: float, *, foreign: float | None = 0.0, late_ms: float = 0.1) -> Trial:
    """Return a try in which a share of 1,000 requests was answered rightly within 20 ms, and the others refused."""
    good = np.arange(1000) < 1000 * share
    return Trial(
        arm,
        np.linspace(0, 5, 1000),
        np.where(good, 200, 503),
        np.where(good, 20.0, 1.0),
        np.full(1000, late_ms),
        np.ones(1000, bool),
        [arm.point or "p25" if one else "" for one in good],
        foreign,
    )


def run_of(shares: Sequence[float], *, doubt: bool = False, costs: Sequence[Record] = ()) -> Run:
    """Return a run in which the ways of answering got these shares right in both scenarios, in each of three rounds."""
    arms = contenders(POINTS)
    rounds = [{arm.name: trial(arm, share) for arm, share in zip(arms, shares, strict=True)} for _ in range(3)]
    records = list(costs)
    for scenario in SCENARIOS:
        for arm in arms:
            records += arm_records("mine", scenario, [one[arm.name] for one in rounds], 50.0)
        records += compared("mine", scenario, rounds, 50.0, doubt=doubt)
    phases = {
        name: [{"per_s": p.per_s, "seconds": p.seconds} for p in load_of(name, 90, 5, 0).phases] for name in SCENARIOS
    }
    settings: dict[str, Any] = {
        "subject": "mine",
        "arms": [arm.name for arm in arms],
        "effort": {"budget_ms": 50.0, "rounds": 3},
        "raising the load": [{"per_s": 60.0, "in_time": 0.9}, {"per_s": 90.0, "in_time": 0.4}],
        "scenarios": phases,
    }
    return new_run(RUN_THEME, records, seed=0, settings=settings)


def verdicts(run: Run) -> list[str]:
    return [row[-1] for row in reached(run)]


GROWTH = [
    Record("", "memory_growth_bytes", value, "bytes", 10_000, scope=f"mlp/{who}")
    for who, value in (("the server, sizes in turns", 1e5), ("a control that keeps a network each time", 9e7))
]
OVERHEAD = Record("", "serve_overhead_ms", 0.6, "ms", 1000, 0.5, 0.7, scope="mlp/a request of one input over HTTP")


def test_verdicts_follow_the_figures_and_all_that_is_told_comes_from_the_file(tmp_path: Path) -> None:
    run = run_of([0.9, 0.8, 0.6, 0.4, 0.4], costs=[*GROWTH, OVERHEAD])
    assert verdicts(run) == ["met", "met (2 of 2 met)", "met", "met (2 of 2 met)", "met", "met"]
    text = told(run)
    assert told(read_run(write_run(tmp_path, run))) == text
    assert "| p25 alone | 80.0% | 80.0% | 0.0% | 20.0% | 100.0% | 20.0 | 20.0 | 100.0% |" in text
    assert "2.250x (2.250 to 2.250)" in text
    assert "Where the policy chooses, answers came from p25 100%." in text
    assert "60/s 90%, 90/s 40%" in text


@pytest.mark.parametrize(
    ("shares", "doubt", "expected"),
    [
        ([0.7, 0.8, 0.6, 0.4, 0.4], False, ["met", "met (2 of 2 met)", "not met", "not met (0 of 2 met)"]),
        ([0.9, 0.8, 0.6, 0.6, 0.6], False, ["not met", "met (2 of 2 met)", "not met", "met (2 of 2 met)"]),
        ([0.9, 0.8, 0.6, 0.4, 0.3], False, ["met", *["not resolved (0 of 2 met)", "not resolved"] * 2][:4]),
        ([0.9, 0.8, 0.6, 0.4, 0.4], True, ["met", *["not resolved (0 of 2 met)", "not resolved"] * 2][:4]),
    ],
)
def test_a_bar_is_missed_by_name_and_noise_is_no_verdict(shares: list[float], doubt: bool, expected: list[str]) -> None:
    found = verdicts(run_of(shares, doubt=doubt))
    assert [verdict.partition(" (")[0] for verdict in found] == [verdict.partition(" (")[0] for verdict in expected]


def test_a_try_that_was_disturbed_is_not_clean() -> None:
    arm = contenders(POINTS)[0]
    assert trial(arm, 0.5).clean
    assert trial(arm, 0.5, foreign=None).clean
    assert not trial(arm, 0.5, foreign=0.2).clean
    assert not trial(arm, 0.5, late_ms=5.0).clean


def test_the_load_is_raised_until_the_full_network_misses_over_half() -> None:
    full = contenders(POINTS)[-2]
    steps = overload(lambda per_s: trial(full, min(1.0, 100 / per_s)), 50.0, 50.0)
    assert [round(step.per_s) for step in steps] == sorted(round(step.per_s) for step in steps)
    assert 0.3 < steps[-1].in_time <= 0.44 < steps[-2].in_time
    with pytest.raises(ConcertinaError, match="no load makes the full network late: got 50/s"):
        overload(lambda _per_s: trial(full, 1.0), 50.0, 50.0)
    assert full.name + AGAIN == contenders(POINTS)[-1].name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget-ms", "0"], "--budget-ms: got 0; allowed: a number above 0"),
        (["--seconds", "nan"], "--seconds: got nan"),
        (["--data", "nowhere.npz"], "data 'nowhere.npz' is not there"),
        (["--runtime", "abacus"], "unknown runtime"),
    ],
)
def test_wrong_options_are_refused_before_anything_slow(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.concertina"
    core = ct.load("zoo:mlp")
    ct.fit(core, ct.open_data("zoo:digits@validation", preprocess=core.preprocess), points=(0.5,), epochs=0).save(file)
    given = ["bench", "serve", str(file), "--data", "zoo:digits@test", "-o", str(tmp_path), *words]
    assert main(given) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.concertina"
    core = ct.load("zoo:digits-cnn")
    ct.fit(core, ct.open_data("zoo:digits@validation", preprocess=core.preprocess), points=(0.5,), epochs=0).save(file)
    words = ["bench", "serve", str(file), "--data", "zoo:digits@test", "--quick", "--budget-ms", "20"]
    assert main([*words, "--json", "-o", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    run = read_run(Path(found["run"]))
    assert found["markdown"] == told(run)
    assert len(found["verdicts"]) == 6
    assert {"serve_overhead_ms", "memory_growth_bytes", "served_over_best"} <= {r.metric for r in run.records}
    assert run.settings["effort"]["budget_ms"] == 20
