"""Modules of a family: trained on a domain, plugged into every size, taken out without a trace."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import concertina as ct
from concertina.errors import ConcertinaError, DataError, InputError, PointError, UnknownNameError
from concertina.load.data import ArrayData

PARITY = ("even", "odd")


@cache
def fitted(network: str = "zoo:mlp") -> tuple[ct.Family, ArrayData, ArrayData]:
    core = ct.load(network)
    train, held = (
        ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess, class_names=core.class_names)
        for part in ("train", "validation")
    )
    return ct.fit(core, train, held, points=(0.3,), epochs=1, order="criterion"), train, held


def inverted(data: ArrayData) -> ArrayData:
    """Digits in another domain: dark on light."""
    return ArrayData((data.inputs.amax() + data.inputs.amin() - data.inputs, data.labels), data.class_names)


def parity(data: ArrayData) -> ArrayData:
    return ArrayData((data.inputs, data.labels % 2), PARITY)


def accuracies(records: list[Any]) -> list[float]:
    return [record.value for record in records]


def right(family: ct.Family, domain: ArrayData) -> list[float]:
    with torch.no_grad():
        answers = [family.view(point.name)(domain.inputs).argmax(1) for point in family.points]
    return [float((answer == domain.labels).float().mean()) for answer in answers]


@pytest.mark.parametrize("kind", ["lora", "affine", "sparse", "adapter", "adapter-parallel"])
def test_a_module_learns_a_domain_at_every_size(kind: str) -> None:
    family, train, held = fitted()
    domain, before = inverted(held), right(family, inverted(held))
    options = {"penalty": 0.1} if kind == "sparse" else {}
    found = family.adapt("dark", inverted(train), domain, kind=kind, epochs=6, learning_rate=0.02, options=options)
    after = accuracies(found)
    assert all(there > plain + 0.1 for plain, there in zip(before, after, strict=True)), (before, after)
    family.modules.delete("dark")


def test_a_module_has_statistics_of_its_own_for_every_point() -> None:
    family, train, held = fitted("zoo:digits-cnn")
    before = right(family, inverted(held))
    found = family.adapt(
        "dark", inverted(train), inverted(held), epochs=2, learning_rate=0.02, layers=["conv1", "stem"]
    )
    assert set(family.modules["dark"].private) == {point.name for point in family.points}
    assert all(after > plain + 0.2 for plain, after in zip(before, accuracies(found), strict=True))
    family.modules.delete("dark")


def test_plugging_in_and_out_leaves_every_point_bit_for_bit_as_it_was() -> None:
    family, train, held = fitted()
    before = copy.deepcopy(family.supernet.module.state_dict()), copy.deepcopy(family.supernet.private)
    with torch.no_grad():
        answers = {p.name: family.view(p.name)(held.inputs[:32]) for p in family.points}
    family.adapt("once", inverted(train), epochs=0.2)
    for point, plain in answers.items():
        with torch.no_grad():
            plugged = [family.with_modules(point, "once", merged=m)(held.inputs[:32]) for m in (False, True)]
            assert torch.equal(family.view(point)(held.inputs[:32]), plain)
        assert not torch.equal(plugged[0], plain)
        assert torch.allclose(plugged[0], plugged[1], atol=1e-3)
    family.modules.delete("once")
    assert "once" not in family.modules
    now = family.supernet.module.state_dict(), family.supernet.private
    assert all(torch.equal(tensor, before[0][key]) for key, tensor in now[0].items())
    assert all(torch.equal(t, before[1][p][key]) for p, held_ in now[1].items() for key, t in held_.items())


def test_points_that_a_module_was_not_trained_for_are_refused(tmp_path: Path) -> None:
    """A point kept later has no statistics of the module's: the core's would give nonsense."""
    family, train, _ = fitted("zoo:digits-cnn")
    family.save(tmp_path / "family.concertina")
    later = ct.open(tmp_path / "family.concertina")
    later.adapt("dark", inverted(train.subset(range(128))), epochs=0.5, layers=["stem"])
    later.keep(0.6, calibrate=train, name="new")
    with pytest.raises(PointError, match="statistics of module 'dark': got 'new'; allowed: p30, p100"):
        later.with_modules("new", "dark")
    part = ct.open(tmp_path / "family.concertina", upto=0.3)
    for call in (lambda: part.adapt("x", train), lambda: part.load_module(tmp_path / "none")):
        with pytest.raises(PointError, match="a part of this family only"):
            call()


def test_classes_of_its_own_come_with_a_head() -> None:
    family, train, held = fitted()
    found = family.adapt("parity", parity(train), parity(held), kind="head", epochs=2)
    assert family.modules["parity"].class_names == PARITY
    assert min(accuracies(found)) > 0.8
    assert {record.scope for record in found} == {"module parity"}
    assert family.with_modules("p30", "parity")(held.inputs[:4]).shape == (4, 2)
    assert "'parity', head" in repr(family.modules)
    assert family.modules["parity"].size_bytes < 20_000
    family.modules.delete("parity")


def test_equal_seeds_give_equal_modules() -> None:
    family, train, _ = fitted()
    for name in ("one", "two"):
        family.adapt(name, train.subset(range(128)), epochs=1, seed=3, kind="sparse")
    one, two = (family.modules[name].plugs[0].tensors for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    for name in ("one", "two"):
        family.modules.delete(name)


def test_a_hundred_attached_modules_share_the_core() -> None:
    family, train, _ = fitted()
    family.adapt("first", train.subset(range(64)), epochs=0.5, options={"rank": 2})
    storage = {t.untyped_storage().data_ptr() for t in family.supernet.module.parameters()}
    first = family.modules["first"]
    for i in range(100):
        family.modules.add(type(first)(f"copy {i}", first.plugs, first.private, first.class_names))
        subnet = family.with_modules("p100", f"copy {i}")
        assert all(p.untyped_storage().data_ptr() in storage for p in subnet.parameters())
        assert family.with_modules("p100", f"copy {i}") is subnet
    last = weakref.ref(family.with_modules("p100", "copy 99"))
    del subnet
    for i in range(100):
        family.modules.delete(f"copy {i}")
    family.with_modules("p30", "first")
    gc.collect()
    assert last() is None
    family.modules.delete("first")


@pytest.mark.parametrize(
    ("name", "options", "kind", "says"),
    [
        ("", {}, InputError, "1 to 100 characters"),
        ("a\x00b", {}, InputError, "1 to 100 characters"),
        ("a,b", {}, InputError, "no comma"),
        ("-a", {}, InputError, "in front"),
        ("auto", {}, InputError, "not '__base__'"),
        ("x", {"kind": "lorra"}, UnknownNameError, "Did you mean 'lora'"),
        ("x", {"layers": ["nowhere"]}, InputError, "no part of a path"),
        ("x", {"epoch": 3}, InputError, "epochs"),
        ("x", {"epochs": 0}, InputError, "above 0"),
        ("x", {"batch_size": 1}, InputError, "2 or more"),
        ("x", {"learning_rate": float("nan")}, InputError, "below 100"),
        ("x", {"options": {"rank": -1}}, InputError, "above 0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_taken_in(
    name: str, options: dict[str, Any], kind: type[ConcertinaError], says: str
) -> None:
    family, train, _ = fitted()
    with pytest.raises(kind, match=says):
        family.adapt(name, train.subset(range(64)), **options)
    assert not len(family.modules)


def test_unknown_modules_and_wrong_data_are_named() -> None:
    family, train, _ = fitted()
    with pytest.raises(UnknownNameError, match="none is there yet"):
        family.with_modules("p30", "reviews")
    with pytest.raises(DataError, match="shape"):
        family.adapt("x", ArrayData((torch.zeros(8, 1, 5, 5), torch.zeros(8, dtype=torch.int64)), train.class_names))
    assert not len(family.modules)


def test_a_module_travels_in_a_file_of_its_own(tmp_path: Path) -> None:
    family, train, held = fitted()
    family.adapt("parity", parity(train), kind="lora", epochs=0.5)
    family.save_module("parity", tmp_path / "parity.safetensors")
    family.modules.delete("parity")
    family.save(tmp_path / "family.concertina")
    opened = ct.open(tmp_path / "family.concertina")
    assert len(opened.modules) == 0
    family.load_module(tmp_path / "parity.safetensors")
    assert opened.load_module(tmp_path / "parity.safetensors").class_names == PARITY
    assert opened.load_module(tmp_path / "parity.safetensors", "again").name == "again"
    with torch.no_grad():
        for point in family.points:
            one, other = (each.with_modules(point.name, "parity")(held.inputs[:16]) for each in (family, opened))
            assert torch.equal(one, other)
    with pytest.raises(InputError, match="a new one"):
        opened.load_module(tmp_path / "parity.safetensors")
    family.modules.delete("parity")


def edited(path: Path, change: Any) -> Path:
    """Write a module's file again with its facts or tensors changed."""
    with safe_open(path, "pt") as file:
        told, tensors = json.loads(file.metadata()["concertina"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(told, tensors)
    target = path.with_name("edited.safetensors")
    save_file(tensors, target, {"concertina": json.dumps(told)})
    return target


def spoil(told: dict, tensors: dict) -> None:
    key = next(iter(tensors))
    tensors[key] = tensors[key] + 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told, tensors: told.update(version=9), "version of the module"),
        (lambda told, tensors: told.update(format="other"), "no module"),
        (lambda told, tensors: told.update(family="0" * 64), "another family"),
        (lambda told, tensors: told.update(plugs=7), "no module"),
        (spoil, "another hash"),
        (lambda told, tensors: tensors.pop(next(iter(tensors))), "another hash"),
        (lambda told, tensors: told["plugs"][0].update(kind="lorra"), "unknown kind of module"),
        (lambda told, tensors: told["plugs"][0]["options"].update(rank=3), "of the module"),
        (lambda told, tensors: told["plugs"][0].update(layers=["nowhere"]), "layers that suit 'lora'"),
        (lambda told, tensors: told["plugs"].pop(), "beside its own"),
        (lambda told, tensors: told.update(class_names=[1]), "no texts"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, change: Any, says: str) -> None:
    family, train, _ = fitted()
    if "kept" not in family.modules:
        family.adapt("kept", train.subset(range(64)), epochs=0.5)
    family.save_module("kept", tmp_path / "kept.safetensors")
    with pytest.raises(ConcertinaError, match=says):
        family.load_module(edited(tmp_path / "kept.safetensors", change), "new")
    family.modules.delete("kept")
    assert not len(family.modules)


def test_what_is_no_file_of_a_module_is_refused(tmp_path: Path) -> None:
    family, _, _ = fitted()
    (tmp_path / "text").write_text("no module")
    for path, says in (
        (tmp_path / "text", "no sound safetensors"),
        (tmp_path / "none", "regular"),
        (tmp_path, "regular"),
    ):
        with pytest.raises(ConcertinaError, match=says):
            family.load_module(path)


def test_a_module_in_16_bits_is_half_as_large_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    family, train, held = fitted("zoo:digits-cnn")
    options: dict[str, Any] = {"epochs": 0.5, "options": {"rank": 4}, "seed": 1}
    family.adapt("whole", inverted(train), **options)
    family.adapt("halved", inverted(train), half=True, **options)
    whole, halved = family.modules["whole"], family.modules["halved"]
    assert halved.half
    counters = sum(t.numel() * 8 for each in whole.private.values() for t in each.values() if t.dtype == torch.int64)
    assert 2 * (halved.size_bytes - counters) == whole.size_bytes - counters
    near, far = (family.answer(held.inputs[:64], name) for name in ("whole", "halved"))
    assert 0 < float((near - far).abs().max()) < 0.05 * float(near.abs().max())
    family.save(tmp_path / "both.concertina")
    family.save_module("halved", tmp_path / "halved.safetensors")
    size = (tmp_path / "halved.safetensors").stat().st_size
    with safe_open(tmp_path / "halved.safetensors", "pt") as file:
        assert {str(file.get_tensor(key).dtype) for key in file.keys()} <= {"torch.bfloat16", "torch.int64"}  # noqa: SIM118
    assert size < whole.size_bytes
    again = ct.open(tmp_path / "both.concertina")
    again.load_module(tmp_path / "halved.safetensors", "alone")
    for name in ("halved", "alone"):
        assert again.modules[name].size_bytes == halved.size_bytes
        assert torch.equal(again.answer(held.inputs[:64], name), far)
    family.modules.delete("whole")
    family.modules.delete("halved")
    with pytest.raises(InputError, match="option half: got 1"):
        family.adapt("odd", inverted(train), half=1)
