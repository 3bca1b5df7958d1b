"""Files that are sound by themselves but ask the network for something it is not are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import concertina as ct
from concertina.errors import LoadError
from concertina.load.data import ArrayData
from concertina.save import Architecture, Manifest, open_artifact, write_artifact
from concertina.types import Dim, SizeAttribute


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "f.concertina"
    core = ct.load("zoo:digits-cnn")
    data: ArrayData = ct.open_data("zoo:digits@train", preprocess=core.preprocess)
    ct.fit(core, data.subset(range(64)), points=(0.1,), epochs=0).save(path)
    return path


def rewritten(path: Path, folder: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """Write the family again, hashes and all, with another manifest."""
    artifact = open_artifact(path)
    content = artifact.read()
    hostile = folder / "hostile.concertina"
    write_artifact(hostile, change(artifact.manifest), content.tensors, content.private, {})
    return hostile


def with_first_width(manifest: Manifest, attribute: SizeAttribute) -> Manifest:
    def change(dim: Dim) -> Dim:
        return replace(dim, attributes=(attribute,))

    dims = list(manifest.dims)
    index = next(i for i, dim in enumerate(dims) if not dim.is_gate)
    dims[index] = change(dims[index])
    return replace(manifest, dims=tuple(dims))


@pytest.mark.parametrize(
    "attribute",
    [
        SizeAttribute("stem.conv", "__class__"),
        SizeAttribute("stem.conv", "forward"),
        SizeAttribute("stem.conv", "training"),
        SizeAttribute("stem.conv", "_parameters"),
        SizeAttribute("stem.conv", "kernel_size", 1, 0),
        SizeAttribute("nowhere", "out_channels"),
        SizeAttribute("../../etc", "passwd"),
    ],
    ids=lambda a: f"{a.module}-{a.attribute}".replace("/", "_"),
)
def test_only_declared_sizes_are_ever_set(sound: Path, tmp_path: Path, attribute: SizeAttribute) -> None:
    hostile = rewritten(sound, tmp_path, lambda manifest: with_first_width(manifest, attribute))
    with pytest.raises(LoadError, match="declared size"):
        ct.open(hostile)


@pytest.mark.parametrize("target", ["stages", "stages.0.0.conv1.weight", "forward", "nowhere.0"])
def test_only_blocks_that_are_modules_are_ever_taken_out(sound: Path, tmp_path: Path, target: str) -> None:
    def change(manifest: Manifest) -> Manifest:
        dims = [replace(dim, target=target) if dim.is_gate else dim for dim in manifest.dims]
        return replace(manifest, dims=tuple(dims))

    hostile = rewritten(sound, tmp_path, change)
    with pytest.raises(LoadError, match="a module of the network"):
        ct.open(hostile)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (Architecture("zoo:os.system"), "os.system"),
        (Architecture("zoo:digits-cnn", {"blocks": 10**9}), "blocks"),
        (Architecture("zoo:digits-cnn", {"exec": "print(1)"}), "exec"),
        (Architecture("zoo:mlp"), "tensor"),
        (Architecture("module:os"), "module=YourNetwork"),
        (Architecture("hf:evil/model"), "arguments of an 'hf:' network"),
        (Architecture("http://localhost/x"), "no registry knows"),
    ],
    ids=lambda value: value.source.replace("/", "_") if isinstance(value, Architecture) else None,
)
def test_only_architectures_of_the_registry_are_built(
    sound: Path, tmp_path: Path, architecture: Architecture, words: str
) -> None:
    hostile = rewritten(sound, tmp_path, lambda manifest: replace(manifest, architecture=architecture))
    with pytest.raises(LoadError, match=words):
        ct.open(hostile)
