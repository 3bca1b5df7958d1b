"""Modules together: compositions, batches in which every sample has its own, the router, handles, the family's file."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.family.test_modules import fitted, inverted, parity

import concertina as ct
from concertina.errors import (
    ConcertinaError,
    DataError,
    FormatError,
    HashError,
    InputError,
    PointError,
    UnknownNameError,
)
from concertina.load.data import ArrayData, TensorData
from concertina.objective.similarity import Similarity


@cache
def family_of_domains() -> tuple[ct.Family, ArrayData]:
    """A family with three domains, one with classes of its own, and its file read again."""
    family, train, held = fitted("zoo:digits-cnn")
    made = ct.Family(family.core, family.supernet, evidence=family.evidence)
    few = train.subset(range(400))
    made.adapt("dark", inverted(few), epochs=0.3, layers=["stem"])
    made.adapt("odd", parity(few), epochs=0.3, kind="head")
    shifted = ArrayData((few.inputs.roll(3, -1), few.labels), few.class_names)
    made.adapt("shifted", shifted, epochs=0.3, layers=["stem"])
    made.route_base(train)
    return made, held


def one_by_one(family: ct.Family, inputs: torch.Tensor, names: list[str], point: str) -> list[torch.Tensor]:
    with torch.no_grad():
        return [family.with_modules(point, n)(x[None])[0] for x, n in zip(inputs, names, strict=True)]


def test_every_sample_of_a_batch_has_modules_of_its_own() -> None:
    family, held = family_of_domains()
    names = ["dark", "__base__", "shifted", "dark,shifted", "dark", "__base__"]
    for point in family.points:
        answers = family.answer(held.inputs[:6], names, point=point.name)
        alone = torch.stack(one_by_one(family, held.inputs[:6], names, point.name))
        assert torch.allclose(answers, alone, atol=1e-4 * float(alone.abs().max()))
    mixed = family.answer(held.inputs[:3], ["odd", "__base__", ["odd", "dark"]])
    assert [tuple(answer.shape) for answer in mixed] == [(2,), (10,), (2,)]
    with torch.no_grad():
        assert torch.equal(family.answer(held.inputs[:5]), family.view("p100")(held.inputs[:5]))


def test_threads_do_not_disturb_each_other() -> None:
    family, held = family_of_domains()
    wanted = {name: family.answer(held.inputs[:8], name) for name in ("dark", "shifted", "__base__")}
    routes, wrong = family.route(held.inputs[:8]), []

    def work(name: str) -> None:
        for _ in range(20):
            if not torch.equal(family.answer(held.inputs[:8], name), wanted[name]):
                wrong.append(name)
            if family.route(held.inputs[:8]) != routes:
                wrong.append("route")

    threads = [threading.Thread(target=work, args=(name,)) for name in (*wanted, *wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_router_knows_domains_and_what_is_none_of_them() -> None:
    family, held = family_of_domains()
    for inputs, names, least in (
        (held.inputs, {"__base__", "odd"}, 0.8),  # the same images twice: no router can tell these two
        (inverted(held).inputs, {"dark"}, 0.9),
        (torch.full_like(held.inputs, 40.0), {None}, 1.0),
    ):
        routed = family.route(inputs)
        assert sum(each in names for each in routed) >= least * len(routed), (names, routed)
    dark = inverted(held).inputs[:16]
    names = [name or "__base__" for name in family.route(dark)]
    assert torch.equal(torch.stack([*family.answer(dark, "auto")]), torch.stack([*family.answer(dark, names)]))


def test_a_router_without_domains_says_so() -> None:
    family, train, held = fitted("zoo:digits-cnn")
    plain = ct.Family(family.core, family.supernet, evidence=family.evidence)
    plain.adapt("few", inverted(train.subset(range(40))), epochs=1, layers=["stem"])
    with pytest.raises(InputError, match="50 samples or more"):
        plain.answer(held.inputs[:2], "auto")
    with pytest.raises(DataError, match="40 samples; allowed: 50 or more"):
        plain.route_base(train.subset(range(40)))


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        (None, InputError, "names of modules"),
        ("dark,,odd", InputError, "names of modules"),
        ("dark,dark", InputError, "each once"),
        ("dark,__base__", InputError, "alone"),
        ("-dark", InputError, "without the minus"),
        ("auto", InputError, "answer"),
        ("drak", UnknownNameError, "Did you mean 'dark'"),
        ("odd,second", InputError, "'odd' and 'second', which both have a head"),
        ("gender", InputError, "Write '-gender'"),
        (["dark", 3], InputError, "names of modules"),
    ],
)
def test_illegal_compositions_are_refused_by_name(names: Any, kind: type[ConcertinaError], says: str) -> None:
    family, held = family_of_domains()
    for name, removes in (("second", ""), ("gender", "gender")):
        if name not in family.modules:
            like = family.modules["odd" if name == "second" else "dark"]
            family.modules.add(replace(like, name=name, removes=removes))
    with pytest.raises(kind, match=says):
        family.with_modules("p100", names)
    assert family.with_modules("p100", "shifted,-gender")(held.inputs[:2]).shape == (2, 10)
    for name in ("second", "gender"):
        family.modules.delete(name)


def test_wrong_batches_are_refused() -> None:
    family, held = family_of_domains()
    for inputs, modules, says in (
        (held.inputs[:3], ["dark"], "one for each sample"),
        (held.inputs[:0], "dark", "1 up"),
        ([held.inputs[:2], held.inputs[:2]], "dark", "1 tensors"),
        (3, "dark", "tensors"),
        (held.inputs[:3, :, :, :1].long(), "dark", "int64 of shape"),
        (held.inputs[:3], 7, "names, or a list"),
    ):
        with pytest.raises(InputError, match=says):
            family.answer(inputs, modules)  # type: ignore[arg-type]


def test_a_handle_has_the_verbs_users_know(capsys: pytest.CaptureFixture[str]) -> None:
    family, held = family_of_domains()
    x = held.inputs[:4]
    handle = family.plugged("p30")
    with torch.no_grad():
        plain, dark = family.view("p30")(x), family.with_modules("p30", "dark")(x)
        handle.set("dark")
        assert handle.active == ("dark",)
        assert torch.equal(handle(x), dark)
        with handle.disable():
            assert torch.equal(handle(x), plain)
        assert torch.equal(handle(x), dark)
        handle.merge()
        assert torch.allclose(handle(x), dark, atol=1e-4 * float(dark.abs().max()))
        storage = {t.untyped_storage().data_ptr() for t in family.supernet.module.parameters()}
        assert any(p.untyped_storage().data_ptr() not in storage for p in handle.network.parameters())
        with handle.disable():
            assert not handle.merged
        assert handle.merged
        handle.unmerge()
        assert torch.equal(handle(x), dark)
        with pytest.raises(UnknownNameError, match="dark"):
            handle.set("drak")
        assert torch.equal(handle(x), dark)
        handle.print_trainable_parameters()
        handle.set("__base__")
        assert torch.equal(handle(x), plain)
    assert "p30 with dark (attached)" in capsys.readouterr().out


def test_switching_between_a_hundred_attached_modules_copies_nothing_and_is_quick() -> None:
    family, _ = family_of_domains()
    for i in range(100):
        family.modules.add(replace(family.modules["shifted"], name=f"copy {i}"))
    handle, storage = family.plugged("p100"), {p.untyped_storage().data_ptr() for p in family.view("p100").parameters()}
    times = []
    for turn in range(2):
        for i in range(100):
            start = time.perf_counter()
            handle.set(f"copy {i}")
            times += [time.perf_counter() - start] if turn else []
            assert {p.untyped_storage().data_ptr() for p in handle.network.parameters()} <= storage
    assert sorted(times)[50] < 1e-3
    for i in range(100):
        family.modules.delete(f"copy {i}")


def test_modules_are_stages_of_the_file_each_read_alone(tmp_path: Path) -> None:
    family, held = family_of_domains()
    report = family.save(tmp_path / "all.concertina")
    assert set(report.module_bytes) == {"dark", "odd", "shifted", "__base__"}
    with safe_open(tmp_path / "all.concertina", "np") as file:
        assert [key for key in file.keys() if key.startswith("module.")]  # noqa: SIM118 - safetensors' own
    again = ct.open(tmp_path / "all.concertina")
    assert list(again.modules) == ["dark", "odd", "shifted"]
    assert again.modules.here == ()
    for point in family.points:
        for name in again.modules:
            one, other = (each.answer(held.inputs[:8], name, point=point.name) for each in (family, again))
            assert torch.equal(torch.stack([*one]), torch.stack([*other]))
    assert again.route(held.inputs) == family.route(held.inputs)
    again.modules.delete("dark")
    again.save(tmp_path / "fewer.concertina")
    assert list(ct.open(tmp_path / "fewer.concertina").modules) == ["odd", "shifted"]


def test_a_module_works_on_a_part_of_the_family_and_grows_with_it(tmp_path: Path) -> None:
    family, held = family_of_domains()
    family.save(tmp_path / "all.concertina")
    part = ct.open(tmp_path / "all.concertina", upto="p30")
    assert torch.equal(part.answer(held.inputs[:8], "dark"), family.answer(held.inputs[:8], "dark", point="p30"))
    part.grow()
    assert torch.equal(part.answer(held.inputs[:8], "dark"), family.answer(held.inputs[:8], "dark", point="p100"))
    small = ct.open(tmp_path / "all.concertina", upto="p30", reserve=False)
    with pytest.raises(ConcertinaError, match="reserve=True"):
        small.answer(held.inputs[:8], "dark")


def test_a_spoilt_module_is_refused_and_the_core_still_answers(tmp_path: Path) -> None:
    family, held = family_of_domains()
    path = tmp_path / "all.concertina"
    family.save(path)
    data, tables = bytearray(path.read_bytes()), family.save(tmp_path / "again.concertina").tables_bytes
    data[-tables - 200] ^= 1
    path.write_bytes(bytes(data))
    spoilt = ct.open(path)
    assert spoilt.answer(held.inputs[:2]).shape == (2, 10)
    refused = []
    for name in ("dark", "odd", "shifted", "auto"):
        try:
            spoilt.answer(held.inputs[:2], name)
        except HashError:
            refused.append(name)
    assert refused
    path.write_bytes(bytes(data[: -tables - 5000]))
    with pytest.raises(FormatError, match="cut short"):
        ct.open(path)


def test_what_is_made_from_a_family_says_that_modules_stay_behind(caplog: pytest.LogCaptureFixture) -> None:
    family, held = family_of_domains()
    assert not family.for_classes(["3", "5"]).modules
    assert "modules dark, odd, shifted are not taken over" in caplog.text
    caplog.clear()
    core = ct.load("zoo:digits-cnn")
    ct.fit(core, held.subset(range(64)), start=family, epochs=0)
    assert "are not taken over" in caplog.text


def test_an_encoder_learns_classes_through_a_head_on_its_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = "vocabulary=64,positions=8,width=16,layers=2,heads=2,inner=32"
    core = ct.load(f"zoo:sentence-encoder@{arguments}", weights="random")
    ids = torch.randint(3, 64, (256, 8))
    pairs = TensorData((ids[:128], ids[128:], torch.rand(128)))
    family = ct.fit(core, pairs, points=(0.6,), epochs=0.5, task=Similarity(), order="criterion")
    labels = ((ids > 33).float().mean(1) > 0.5).long()
    domain = ArrayData((ids, labels), ("low", "high"))
    found = family.adapt("large ids", domain, domain, epochs=20, learning_rate=0.01, layers=["encoder"])
    assert min(record.value for record in found) > 0.8
    family.save(tmp_path / "encoder.concertina")
    again = ct.open(tmp_path / "encoder.concertina")
    assert torch.equal(again.answer(ids[:4], "large ids"), family.answer(ids[:4], "large ids"))
    assert torch.equal(family.answer(ids[:4]), family.view("p100")(ids[:4]))


def test_points_that_come_after_a_module_do_not_spoil_it(tmp_path: Path) -> None:
    family, train, held = fitted("zoo:digits-cnn")
    family.save(tmp_path / "plain.concertina")
    later = ct.open(tmp_path / "plain.concertina")
    later.adapt("dark", inverted(train.subset(range(200))), epochs=0.2, layers=["stem"])
    later.keep(0.2, calibrate=train, name="small")
    later.adapt("pale", inverted(train.subset(range(200))), epochs=0.2, layers=["stem"])
    later.save(tmp_path / "later.concertina")
    again = ct.open(tmp_path / "later.concertina")
    for point in ("p30", "p100"):
        one, other = (each.answer(held.inputs[:8], "dark", point=point) for each in (later, again))
        assert torch.equal(one, other)
    with pytest.raises(PointError, match="statistics of module 'dark': got 'small'"):
        again.answer(held.inputs[:8], "dark", point="small")
    assert again.answer(held.inputs[:8], "pale", point="small").shape == (8, 10)
    assert len(again.route(held.inputs[:8])) == 8  # both domains are known at one point


def test_a_module_that_makes_a_point_worse_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    family, train, held = fitted()
    family.adapt("ruined", train.subset(range(128)), held, epochs=1, learning_rate=50.0)
    family.modules.delete("ruined")
    assert "point 'p100' is worse with module ruined: accuracy 0." in caplog.text


def test_the_figures_of_a_module_that_was_there_before_are_gone() -> None:
    family, train, held = fitted()
    family.adapt("again", train.subset(range(64)), held, epochs=0.2)
    family.modules.delete("again")
    family.adapt("again", train.subset(range(64)), held.subset(range(100)), epochs=0.2)
    family.modules.delete("again")
    assert {record.n for record in family.records if record.scope == "module again"} == {100}
