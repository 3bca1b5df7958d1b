"""The session: right answers from many threads, the right point, and what happens when it is asked for too much."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.serve.subjects import POINTS, QUICK, expected, family, inputs, session
from torch import nn

import concertina as ct
from concertina.errors import (
    BoundError,
    BudgetError,
    BusyError,
    ConcertinaError,
    InputError,
    LateError,
    PointError,
    UnknownNameError,
)
from concertina.serve import Session, Settings
from concertina.serve.copies import Copies
from concertina.testing import make_subject


@contextmanager
def held_up(opened: Session) -> Iterator[Callable[[], None]]:
    """Keep the session busy with one request until the function given is called, or the block ends."""
    begun, go, engine = threading.Event(), threading.Event(), opened._engine

    def slow(*given: Any) -> Any:
        begun.set()
        go.wait(20)
        return engine(*given)

    opened._engine = slow  # type: ignore[assignment]
    first = opened.submit(inputs())
    begun.wait(20)
    opened._engine = engine
    try:
        yield go.set
    finally:
        go.set()
        first.result(20)


def test_a_file_is_served_from_python_alone(tmp_path: Path) -> None:
    path = tmp_path / "digits.concertina"
    family().save(path)
    with ct.serve.Session(path, QUICK) as opened:
        answer = opened.infer(inputs(3), latency_budget_ms=5000)
    assert torch.allclose(answer.outputs[0], expected("p100", inputs(3)), atol=1e-6)
    assert (answer.point, answer.in_time, answer.why) == ("p100", True, "the largest point within 5000 ms")
    assert answer.queue_ms > 0
    assert answer.total_ms == answer.queue_ms + answer.compute_ms


@pytest.mark.parametrize("point", POINTS)
def test_a_named_point_answers_as_it_does_without_a_session(point: str) -> None:
    answer = session().infer(inputs(2), subnet=point)
    assert torch.allclose(answer.outputs[0], expected(point, inputs(2)), atol=1e-6)
    assert (answer.point, answer.why) == (point, "asked for by name")


def test_every_point_is_timed_when_a_session_opens() -> None:
    with Session(family(), Settings(measure_s=0.05, max_batch=4)) as opened:
        times = opened.times_ms
    assert {name: sorted(found) for name, found in times.items()} == {name: [1, 4] for name in POINTS}
    assert min(time for found in times.values() for time in found.values()) > 0


def test_many_threads_each_get_their_own_answers() -> None:
    def ask(turn: int) -> bool:
        point, given = POINTS[turn % 3], inputs(1 + turn % 2, seed=turn)
        answer = session().infer(given, subnet=point)
        return answer.point == point and torch.allclose(answer.outputs[0], expected(point, given), atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_what_gathers_goes_together_and_comes_apart_again() -> None:
    with Session(family(), QUICK) as opened, held_up(opened) as let_go:
        given = [inputs(seed=place) for place in range(5)]
        futures = [opened.submit(one, subnet="p50") for one in given]
        let_go()
        answers = [future.result(20) for future in futures]
    assert {answer.batch for answer in answers} == {5}
    for one, answer in zip(given, answers, strict=True):
        assert torch.allclose(answer.outputs[0], expected("p50", one), atol=1e-5)


def test_a_long_queue_gives_smaller_points_then_none() -> None:
    with Session(family(), replace(QUICK, max_batch=1, queue_limit=60)) as opened:
        with held_up(opened) as let_go:
            futures = [opened.submit(inputs()) for _ in range(60)]
            with pytest.raises(BusyError, match="60 requests are waiting") as refused:
                opened.submit(inputs())
            assert opened.waiting == 60
            let_go()
            points = [future.result(20).point for future in futures]
        assert opened.infer(inputs()).point == "p100"
    assert refused.value.retry_after_s > 0
    assert points[-1] == "p25"
    assert set(points) <= set(POINTS)


def test_a_wait_that_was_not_foreseen_gives_a_smaller_point_or_an_end() -> None:
    with Session(family(), QUICK) as opened:
        with held_up(opened) as let_go:
            hasty = opened.submit(inputs(), latency_budget_ms=2000.0)
            hopeless = opened.submit(inputs(2), latency_budget_ms=60.0)
            late = opened.submit(inputs(), timeout_ms=0.1)
            threading.Event().wait(0.15)
            let_go()
            assert hasty.result(20).in_time
            with pytest.raises(BusyError, match="the wait was longer than foreseen"):
                hopeless.result(20)
            with pytest.raises(LateError, match="timeout of the request"):
                late.result(20)
        text = opened.counts.text({})
    assert 'concertina_refused_total{reason="busy"} 1' in text


def test_priorities_overtake() -> None:
    with Session(family(), QUICK) as opened, held_up(opened) as let_go:
        usual, urgent = opened.submit(inputs(), subnet="p25"), opened.submit(inputs(), subnet="p50", priority=1)
        let_go()
        assert urgent.result(20).queue_ms < usual.result(20).queue_ms


REFUSED = [
    ((), {}, InputError, "inputs: got 0; allowed: 1"),
    ((inputs(9),), {}, InputError, r"shape of input 'x': got \[9, 1, 8, 8\]; allowed: \[1 to 8, 1, 8, 8\]"),
    ((inputs(0),), {}, InputError, r"got \[0, 1, 8, 8\]"),
    ((inputs().double(),), {}, InputError, "dtype of input 'x': got float64; allowed: float32"),
    ((inputs()[0],), {}, InputError, "shape of input"),
    (("text",), {}, InputError, "allowed: a tensor or an array of numbers"),
    (([[1], [1, 2]],), {}, InputError, "allowed: a tensor or an array of numbers"),
    ((inputs(),), {"subnet": "p51"}, PointError, "unknown subnet: got 'p51'; allowed: p25, p50, p100. Did you mean"),
    ((inputs(),), {"subnet": 50}, InputError, "subnet: got 50"),
    ((inputs(),), {"module": "parity"}, UnknownNameError, "unknown module: got 'parity'"),
    ((inputs(),), {"latency_budget_ms": 0}, InputError, "latency_budget_ms: got 0; allowed: a number above 0"),
    ((inputs(),), {"latency_budget_ms": float("nan")}, InputError, "latency_budget_ms: got nan"),
    ((inputs(),), {"latency_budget_ms": "5"}, InputError, "latency_budget_ms: got '5'"),
    ((inputs(),), {"timeout_ms": -1}, InputError, "timeout_ms: got -1"),
    ((inputs(),), {"priority": 0}, InputError, r"priority: got 0; allowed: a whole number, 1 \(highest\) to 100"),
    ((inputs(),), {"priority": True}, InputError, "priority: got True"),
    ((inputs(),), {"min_accuracy": "high"}, InputError, "min_accuracy: got 'high'"),
    ((inputs(),), {"min_accuracy": 1.1}, BudgetError, "no point has an accuracy of 1.1: the best has"),
    ((inputs(),), {"latency_budget_ms": 1e-6}, BudgetError, "is the fastest and takes"),
]


@pytest.mark.parametrize(("given", "request_", "kind", "words"), REFUSED)
def test_what_is_asked_wrongly_is_refused_by_name(
    given: tuple[Any, ...], request_: Any, kind: type[ConcertinaError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        session().infer(*given, **request_)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(max_batch=0),
        Settings(queue_limit=-1),
        Settings(threads=0),
        Settings(measure_s=0),
        Settings(copy_bytes=-1),
    ],
)
def test_settings_out_of_range_are_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match="setting "):
        Session(family(), settings)


def test_the_floor_holds_for_the_policy_and_names_go_below_it() -> None:
    accuracies = [dict(point.metrics)["accuracy"] for point in family().points]
    floor = (f"accuracy>={accuracies[1]}",)
    with Session(family(), replace(QUICK, max_batch=1, queue_limit=99, floor=floor)) as opened:
        with held_up(opened) as let_go:
            futures = [opened.submit(inputs()) for _ in range(99)]
            let_go()
            assert "p25" not in {future.result(20).point for future in futures}
        assert opened.infer(inputs(), subnet="p25").point == "p25"
    with pytest.raises(BoundError, match="no point meets the floor"):
        Session(family(), replace(QUICK, floor=("ece<=0.01",)))


def test_arrays_are_inputs_too_and_are_left_alone() -> None:
    array = inputs().numpy().copy()
    array.flags.writeable = False
    assert torch.allclose(session().infer(array).outputs[0], expected("p100", inputs()), atol=1e-6)
    assert np.array_equal(array, inputs().numpy())


def test_modules_are_plugged_in_by_name(tmp_path: Path) -> None:
    core = ct.load("zoo:mlp")
    held = ct.open_data("zoo:digits@test", preprocess=core.preprocess)
    owner = ct.fit(core, held, held, points=(0.5,), epochs=0)
    owner.adapt("tuned", held, epochs=0.1)
    owner.save(tmp_path / "core.concertina")
    with Session(tmp_path / "core.concertina", QUICK) as opened:
        answer = opened.infer(inputs(), module="tuned", subnet="p50")
        plain = opened.infer(inputs(), subnet="p50").outputs[0]
        for wrong in ("tuner", "tuned,tuned", "-tuned"):
            with pytest.raises(InputError, match="tuned"):
                opened.infer(inputs(), module=wrong)
    with torch.inference_mode():
        assert torch.allclose(answer.outputs[0], owner.with_modules("p50", "tuned")(inputs()), atol=1e-5)
    assert not torch.allclose(answer.outputs[0], plain)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_other_runtimes_answer_the_same(runtime: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    supernet = copy.deepcopy(family().supernet)
    supernet.points = {"p50": supernet.points["p50"]}
    with Session(ct.Family(family().core, supernet), replace(QUICK, runtime=runtime, threads=1)) as opened:
        answer = opened.infer(inputs(2))
        with pytest.raises(InputError, match="modules need the runtime 'eager'"):
            opened.infer(inputs(), module="tuned")
    assert torch.allclose(answer.outputs[0], expected("p50", inputs(2)), atol=1e-4)


def test_rows_of_tokens_may_be_shorter_and_words_that_are_none_are_refused() -> None:
    core = ct.load("zoo:tiny-decoder@depth=1,width=16,heads=2,inner=16", weights="random")
    subject = make_subject(core)
    with Session(ct.Family(subject.core, subject.supernet), Settings(measure_s=0.05)) as opened:
        length = core.example_inputs[0].shape[1]
        tokens = torch.ones(1, length // 2, dtype=core.example_inputs[0].dtype)
        assert opened.infer(tokens).outputs[0].shape[:2] == (1, length // 2)
        with pytest.raises(InputError, match="the network cannot compute on these inputs: got IndexError"):
            opened.infer(tokens * 10**6)
        assert opened.infer(tokens).outputs[0].isfinite().all()


def test_one_bad_request_spoils_no_other() -> None:
    class Picky(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool((x > 1e6).any()):
                raise RuntimeError("too large")
            return self.inner(x)

    with Session(family(), QUICK) as opened:
        view = opened.family.view
        engine = opened._engine

        def picky(point: str, module: str, given: Any) -> Any:
            with torch.inference_mode():
                return (Picky(view(point))(*given),)

        with held_up(opened) as let_go:
            opened._engine = picky  # type: ignore[assignment]
            good, bad = opened.submit(inputs(), subnet="p50"), opened.submit(inputs() + 1e7, subnet="p50")
            let_go()
            assert torch.allclose(good.result(20).outputs[0], expected("p50", inputs()), atol=1e-6)
            with pytest.raises(InputError, match="RuntimeError: too large"):
                bad.result(20)
        opened._engine = engine


def test_a_copy_that_cannot_be_made_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_given: Any) -> bool:
        raise MemoryError("no room")

    with Session(family(), QUICK) as opened:
        monkeypatch.setattr(opened._engine, "improve", failing)
        assert [opened.infer(inputs()).point for _ in range(3)] == ["p100"] * 3


def test_closing_drains_and_then_refuses() -> None:
    opened = Session(family(), QUICK)
    futures = [opened.submit(inputs()) for _ in range(20)]
    opened.close()
    assert all(future.done() and future.result().outputs for future in futures)
    with pytest.raises(BusyError, match="this session is closing"):
        opened.infer(inputs())
    opened.close()


def test_a_closed_session_is_let_go() -> None:
    opened = Session(family(), QUICK)
    gone = weakref.ref(opened)
    opened.close()
    del opened
    gc.collect()
    assert gone() is None


def test_copies_follow_the_heat_within_their_limit() -> None:
    copies = Copies(100, {"a": 60, "b": 60, "c": 30})
    views = {name: nn.Linear(2, 2) for name in "abc"}
    made = [copies.refresh(views.__getitem__) for _ in range(3)]
    assert (made, copies.held) == (["a", "c", ""], {"a": 60, "c": 30})
    assert copies.get("b") is None
    assert copies.refresh(views.__getitem__) == "b"
    assert copies.held == {"b": 60, "c": 30}
    for _ in range(2):
        copies.get("a")
    assert copies.refresh(views.__getitem__) == ""
    copies.get("a")
    assert copies.refresh(views.__getitem__) == "a"
    assert torch.equal(copies.get("a").weight, views["a"].weight)  # type: ignore[union-attr, arg-type]
