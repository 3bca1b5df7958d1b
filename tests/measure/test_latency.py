"""The latency meter on a machine made of numbers: what it gates, when it stops, what it says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path

import pytest
import torch

from concertina.errors import InputError
from concertina.measure.latency import CONTROL_TOLERANCE, LatencyResult, latency, module_runner
from concertina.measure.probe import Probe, run_queue_waits, take_sample


class Machine:
    """A clock and a run queue that move only when a runner says so."""

    def __init__(self, *, has_account: bool = True) -> None:
        self.now, self.waited, self.has_account = 0.0, 0, has_account
        self.calls: list[str] = []

    @property
    def probe(self) -> Probe:
        return Probe(lambda: self.now, lambda: {"1": self.waited} if self.has_account else None)

    def runner(self, name: str, ms: Callable[[int], float], wait: Callable[[int], float] = lambda _: 0.0):
        """Return a runner whose call number i takes ms(i), of which the share wait(i) is waiting."""
        calls = count()

        def run() -> None:
            call = next(calls)
            self.calls.append(name)
            self.now += ms(call) / 1000
            self.waited += int(ms(call) * 1e6 * wait(call))

        return run


def steady(ms: float) -> Callable[[int], float]:
    return lambda _call: ms


def measure(machine: Machine, runners: dict, **settings) -> dict[str, LatencyResult]:
    return latency(runners, probe=machine.probe, **settings)


def test_a_quiet_machine_gives_the_figures_of_each_runner() -> None:
    machine = Machine()
    varied = lambda call: 1 + call % 3  # noqa: E731
    runners = {"small": machine.runner("small", varied), "large": machine.runner("large", steady(8))}
    found = measure(machine, runners, control=machine.runner("copy", varied), batch=4)
    small, large = found["small"], found["large"]
    assert (small.status, small.basis, small.gated, small.dirty, small.reason) == ("ok", "clean", True, 0, "")
    assert (small.median_ms, large.median_ms) == pytest.approx((2, 8))
    assert small.p95_ms == pytest.approx(3)
    assert small.low_ms <= small.median_ms <= small.high_ms
    assert small.batch == 4
    assert small.n >= 30


def test_samples_that_waited_are_thrown_away_and_counted() -> None:
    machine = Machine()
    waits = cycle([0.0, 0.019, 0.5])
    shares = [next(waits) for _ in range(10_000)]
    runner = machine.runner("a", lambda i: 90.0 if shares[i] > 0.02 else 3.0, lambda i: shares[i])
    found = measure(machine, {"a": runner}, min_samples=30, time_limit_s=500)["a"]
    assert found.status == "ok"
    assert (found.median_ms, found.p95_ms) == pytest.approx((3, 3))
    assert found.dirty > 5


def test_no_clean_sample_is_no_failure_but_unresolved() -> None:
    machine = Machine()
    runner = machine.runner("a", steady(4), lambda _: 0.9)
    found = measure(machine, {"a": runner}, time_limit_s=1.0)["a"]
    assert (found.status, found.basis) == ("unresolved", "all")
    assert found.reason == "0 clean samples of 30 wanted"
    assert found.median_ms == pytest.approx(4)
    assert found.dirty == found.n > 0
    assert machine.now < 1.1


def test_too_few_clean_samples_are_unresolved_and_rest_on_the_clean_ones() -> None:
    machine = Machine()
    runner = machine.runner("a", lambda i: 50 if i % 10 else 5, lambda i: 0.5 if i % 10 else 0.0)
    found = measure(machine, {"a": runner}, time_limit_s=3.0)["a"]
    assert (found.status, found.basis, found.median_ms) == ("unresolved", "clean", pytest.approx(5))


@pytest.mark.parametrize(
    ("factor", "status"), [(1 + CONTROL_TOLERANCE / 2, "ok"), (1.05, "unresolved"), (0.9, "unresolved")]
)
def test_the_control_decides_over_all_results(factor: float, status: str) -> None:
    machine = Machine()
    runners = {"a": machine.runner("a", steady(2)), "b": machine.runner("b", steady(5))}
    found = measure(machine, runners, control=machine.runner("copy", steady(2 * factor)), min_samples=8)
    assert {result.status for result in found.values()} == {status}
    assert found["b"].control_ratio == pytest.approx(factor)
    assert (status == "ok") == (not found["b"].reason)


def test_more_samples_are_taken_while_the_control_does_not_hold() -> None:
    machine = Machine()
    drifting = machine.runner("copy", lambda i: 2.2 if i < 18 else 2.0)
    found = measure(machine, {"a": machine.runner("a", steady(2))}, control=drifting, min_samples=10)["a"]
    assert found.status == "ok"
    assert found.n == 40


def test_runners_take_turns_in_orders_that_change_and_are_the_same_again() -> None:
    orders = []
    for _ in range(2):
        machine = Machine()
        runners = {name: machine.runner(name, steady(1)) for name in "ab"}
        measure(machine, runners, control=machine.runner("c", steady(1)), min_samples=60)
        assert machine.calls[:9] == list("abcabcabc")
        rounds = ["".join(machine.calls[i : i + 3]) for i in range(9, len(machine.calls), 3)]
        assert {"".join(sorted(order)) for order in rounds} == {"abc"}
        assert len(rounds) == 60
        orders.append(rounds)
    assert orders[0] == orders[1]
    before_a = ["".join(orders[0])[i - 1] for i, name in enumerate("".join(orders[0])) if name == "a" and i]
    assert min(before_a.count(name) for name in "bc") > 15


def test_a_limit_shorter_than_one_round_still_gives_one_sample_each() -> None:
    machine = Machine()
    runners = {name: machine.runner(name, steady(10_000)) for name in "abc"}
    found = measure(machine, runners, time_limit_s=0.5)
    assert {result.n for result in found.values()} == {1}
    assert {result.status for result in found.values()} == {"unresolved"}
    assert (found["a"].low_ms, found["a"].high_ms) == (None, None)


def test_without_an_account_of_waiting_results_are_flagged() -> None:
    machine = Machine(has_account=False)
    found = measure(machine, {"a": machine.runner("a", steady(2))}, min_samples=6, batch=1, threads=1)["a"]
    assert (found.status, found.gated, found.n) == ("ok", False, 6)
    assert found.scope == "batch=1 threads=1 ungated"


def test_records_say_what_was_measured_how_and_where() -> None:
    machine = Machine()
    found = measure(machine, {"a": machine.runner("a", steady(2))}, min_samples=6, threads=1)["a"]
    records = {record.metric: record for record in found.to_records("width:a=2")}
    assert set(records) == {"latency_ms_median", "latency_ms_p95", "latency_dirty", "latency_control"}
    median = records["latency_ms_median"]
    assert (median.spec, median.unit, median.n, median.scope) == ("width:a=2", "ms", 6, "batch=1 threads=1")
    assert (median.low, median.value, median.high) == pytest.approx((2, 2, 2))
    assert "cores" in median.machine
    assert median.versions.startswith("concertina ")


def test_a_figure_that_cannot_be_trusted_has_another_scope_than_one_that_can() -> None:
    machine = Machine()
    runner = machine.runner("a", steady(2), lambda _: 1.0)
    found = measure(machine, {"a": runner}, time_limit_s=0.2, threads=1)["a"]
    assert {record.scope for record in found.to_records("core")} == {"batch=1 threads=1 unresolved"}


def test_threads_are_set_while_measuring_and_given_back() -> None:
    before = torch.get_num_threads()
    seen = []
    found = latency({"a": lambda: seen.append(torch.get_num_threads())}, threads=before + 1, min_samples=2)
    assert set(seen) == {before + 1}
    assert found["a"].threads == before + 1
    assert torch.get_num_threads() == before


def test_threads_are_given_back_when_a_runner_fails() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        raise RuntimeError("broken runner")

    with pytest.raises(RuntimeError, match="broken runner"):
        latency({"a": fail}, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_samples": 0}, "min_samples: got 0; allowed: more than 0"),
        ({"time_limit_s": -1.0}, "time_limit_s: got -1.0"),
        ({"threads": 0}, "threads: got 0"),
        ({"batch": 0}, "batch: got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        latency({"a": lambda: None}, **settings)


def test_no_runner_is_refused() -> None:
    with pytest.raises(InputError, match="no runner"):
        latency({})


def test_a_module_runner_runs_in_inference_mode() -> None:
    out = module_runner(torch.nn.Linear(3, 2), torch.ones(1, 3))()
    assert out.is_inference()
    assert not out.requires_grad


def test_on_this_machine_a_thousand_times_the_work_takes_longer() -> None:
    small, large = torch.ones(4, 4), torch.ones(400, 400)
    found = latency(
        {"small": lambda: small @ small, "large": lambda: large @ large}, min_samples=10, time_limit_s=2, threads=1
    )
    if all(result.basis == "clean" for result in found.values()):
        assert found["small"].median_ms < found["large"].median_ms
    assert all(result.median_ms > 0 for result in found.values())


def write_stats(folder: Path, **stats: str) -> Path:
    for thread, text in stats.items():
        (folder / thread).mkdir()
        (folder / thread / "schedstat").write_text(text)
    return folder


def test_waits_are_read_per_thread_and_ended_threads_are_left_out(tmp_path: Path) -> None:
    write_stats(tmp_path, t1="500 20 3\n", t2="100 7 1\n", gone="")
    assert run_queue_waits(tmp_path) == {"t1": 20, "t2": 7}


@pytest.mark.parametrize("stats", [{}, {"t1": "0 0 0\n"}])
def test_a_system_that_keeps_no_account_is_told_apart_from_a_quiet_one(tmp_path: Path, stats: dict) -> None:
    assert run_queue_waits(write_stats(tmp_path, **stats)) is None


def test_the_wait_of_a_thread_born_during_the_call_counts_from_its_birth() -> None:
    readings = iter([{"1": 100}, {"1": 100, "2": 50_000_000}])
    times = iter([0.0, 1.0])
    sample = take_sample(lambda: None, Probe(lambda: next(times), lambda: next(readings)))
    assert sample.wait_share == pytest.approx(0.05)
    assert sample.ms == pytest.approx(1000)
