"""Weights from files: safetensors and tensors-only checkpoints, everything else refused in words."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from concertina.errors import LoadError
from concertina.load import ZOO, load
from concertina.load.weights import fitting_networks, read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return {name: tensor.clone() for name, tensor in load("zoo:digits-cnn").module.state_dict().items()}


def assert_refused(path: Path, words: str, source: str = "zoo:digits-cnn") -> None:
    with pytest.raises(LoadError, match=words):
        load(source, weights=path)


def test_both_kinds_of_files_and_their_wrappers_load(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "safetensors-by-content")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pth")
    torch.save(state, tmp_path / "legacy.th", _use_new_zipfile_serialization=False)
    found = {load("zoo:digits-cnn", weights=path).fingerprint for path in tmp_path.iterdir()}
    assert found == {load("zoo:digits-cnn").fingerprint}


def test_step_counters_may_be_missing_and_half_precision_is_widened(tmp_path: Path, state: State) -> None:
    lean = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    save_file({name: tensor.half() for name, tensor in lean.items()}, tmp_path / "half.safetensors")
    module = load("zoo:digits-cnn", weights=tmp_path / "half.safetensors").module
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.equal(module.head.weight, state["head.weight"].half().float())


def test_a_module_takes_weights_too_and_ties_may_be_stored_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    save_file({"one.weight": torch.eye(4)}, tmp_path / "tied.safetensors")
    core = load(Tied(), torch.randn(2, 4), weights=tmp_path / "tied.safetensors")
    assert torch.equal(core.module(core.example_inputs[0]), core.example_inputs[0])
    assert core.module.one.weight is core.module.two.weight


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.safetensors", "none.safetensors': got no such file")
    assert_refused(tmp_path, "got a folder")
    (tmp_path / "text.pt").write_text("not weights at all")
    assert_refused(tmp_path / "text.pt", "a file of unknown kind; allowed: safetensors, or a checkpoint")
    (tmp_path / "text.safetensors").write_text("not weights at all")
    assert_refused(tmp_path / "text.safetensors", "no sound safetensors file")
    (tmp_path / "empty.pt").write_bytes(b"")
    assert_refused(tmp_path / "empty.pt", "unknown kind")
    (tmp_path / "a.concertina").write_bytes(b"")
    assert_refused(tmp_path / "a.concertina", "is a Concertina family, not a weights file. Open it")
    torch.save([1, 2], tmp_path / "list.pt")
    assert_refused(tmp_path / "list.pt", "is no state dict: allowed: a dict of tensors by name")


def test_a_checkpoint_with_code_is_never_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"head.weight": Attack()}, tmp_path / "attack.pt")
    assert_refused(tmp_path / "attack.pt", "holds more than tensors, and code in a file is never run")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    assert_refused(tmp_path / "module.pt", "holds more than tensors.*Save the state dict alone")
    assert not (tmp_path / "ran").exists()


def test_torch_says_nothing_of_its_own_about_code_in_files(tmp_path: Path) -> None:
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"a": os.getcwd}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_refused(tmp_path / "bare.pt", "holds more than tensors, and code in a file is never run")
        assert_refused(tmp_path / "script.pt", "is a TorchScript program, and code in a file is never run. Save its")


@given(st.integers(0, 3), st.floats(0, 1), st.integers(1, 255))
def test_damaged_files_give_a_named_error_or_tensors(
    tmp_path_factory: pytest.TempPathFactory, kind: int, place: float, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / ("w.safetensors" if kind % 2 else "w.pt")
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    if kind % 2:
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    content = bytearray(path.read_bytes())
    at = min(int(place * len(content)), len(content) - 1)
    if kind < 2:
        content[at] ^= flip
    else:
        del content[at:]
    path.write_bytes(bytes(content))
    try:
        found = read_weights(path)
    except LoadError as error:
        found, text = {}, str(error)
    else:
        text = path.name
    assert path.name in text
    assert all(isinstance(tensor, Tensor) for tensor in found.values())


def test_tensors_that_do_not_belong_are_named(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    save_file({name: tensor for name, tensor in state.items() if name != "head.bias"}, path)
    assert_refused(path, "do not belong to this architecture: got missing 'head.bias'")
    save_file({**state, "extra": torch.ones(1)}, path)
    assert_refused(path, "got unexpected 'extra'")
    save_file({**state, "head.weight": torch.ones(11, 32)}, path)
    assert_refused(path, "have other shapes: got 'head.weight' 11x32 instead of 10x32")
    save_file({**state, "head.weight": torch.ones(10, 32, dtype=torch.int64)}, path)
    assert_refused(path, "have another dtype: got 'head.weight' torch.int64")
    save_file({**state, "head.weight": torch.full((10, 32), float("nan"))}, path)
    assert_refused(path, "hold NaN or infinite values: got 'head.weight'")


def test_a_prefix_is_pointed_out(tmp_path: Path, state: State) -> None:
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.safetensors")
    assert_refused(tmp_path / "w.safetensors", "All names begin with 'module.', as DataParallel saves them")


def test_weights_of_another_architecture_are_recognised(tmp_path: Path, state: State) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert_refused(tmp_path / "w.safetensors", "They fit --arch zoo:digits-cnn.", source="zoo:mlp")
    for entry in ZOO:
        assert fitting_networks(entry.part.build().state_dict()) == (entry.name,)
    assert fitting_networks({"a": torch.ones(1)}) == ()


@pytest.mark.real
@pytest.mark.parametrize(("name", "other"), [("resnet20", "resnet56"), ("resnet56", "resnet20")])
def test_real_weights_load_and_are_not_mixed_up(real_data: Path, name: str, other: str) -> None:
    core = load(f"zoo:cifar-{name}", weights=real_data / f"{name}-cifar10.safetensors")
    assert core.module(core.example_inputs[0]).shape == (2, 10)
    assert core.licence == ""
    assert_refused(
        real_data / f"{other}-cifar10.safetensors", f"They fit --arch zoo:cifar-{other}", f"zoo:cifar-{name}"
    )
