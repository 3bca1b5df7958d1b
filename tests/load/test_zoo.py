"""The zoo's networks: sizes, arguments, packaged weights and their cards."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from concertina.errors import LoadError, UnknownNameError
from concertina.load import ZOO, load, open_data
from concertina.load.zoo.base import MAX_ARGUMENT
from concertina.objective import Classification

PACKAGED = [entry.name for entry in ZOO if entry.part.weights]


def macs(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        module(*(item[:1] for item in inputs))
    return counter.get_total_flops() // 2


def test_the_zoo_holds_the_networks_of_the_spine() -> None:
    small = ("sentence-encoder", "table-mlp", "tiny-decoder", "tiny-vit")
    assert ZOO.names() == ("cifar-resnet20", "cifar-resnet56", "digits-cnn", "mlp", *small)
    assert all(entry.summary and entry.source for entry in ZOO)


def test_an_unknown_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown zoo network.*Did you mean 'digits-cnn'"):
        load("zoo:digit-cnn")


@pytest.mark.parametrize(
    ("name", "parameters", "expected_macs"),
    [
        ("mlp", 33_738, 33_408),
        ("digits-cnn", 112_010, 2_626_880),
        ("tiny-vit", 77_434, 1_281_504),
        ("tiny-decoder", 495_168, 72_351_744),
        ("cifar-resnet20", 269_722, 40_551_040),
        ("cifar-resnet56", 853_018, 125_485_696),
    ],
)
def test_sizes(name: str, parameters: int, expected_macs: int) -> None:
    network = ZOO.get(name)
    module = network.build().eval()
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert macs(module, network.example_inputs()) == expected_macs


def test_smallest_digits_cnn_needs_about_two_percent_of_the_macs() -> None:
    module = ZOO.get("digits-cnn").build().eval()
    inputs = ZOO.get("digits-cnn").example_inputs()
    skeleton = copy.deepcopy(module)
    skeleton.stages = nn.ModuleList(nn.Identity() for _ in module.stages)
    assert macs(skeleton, inputs) / macs(module, inputs) == pytest.approx(0.0177, abs=1e-3)


def zero(module: nn.Module) -> None:
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.detach().zero_()


@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
        ("digits-cnn", "stages.1.0", (2, 24, 4, 4)),
        ("cifar-resnet20", "layer2.1", (2, 32, 16, 16)),
        ("tiny-vit", "blocks.0", (2, 16, 48)),
    ],
)
def test_a_residual_block_without_weights_is_the_identity(name: str, path: str, shape: tuple[int, ...]) -> None:
    block = ZOO.get(name).build().eval().get_submodule(path)
    zero(block)
    x = torch.rand(shape)
    assert torch.equal(block(x), x)


def test_a_stage_change_pads_channels_on_both_sides() -> None:
    block = ZOO.get("cifar-resnet20").build().layer2[0].eval()
    zero(block)
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_heads_follow_from_the_width_of_the_projections() -> None:
    attention = ZOO.get("tiny-vit").build().blocks[0].attention.double()
    x = torch.randn(2, 16, 48, dtype=torch.float64)
    masked, narrow = copy.deepcopy(attention), copy.deepcopy(attention)
    with torch.no_grad():
        masked.proj.weight[:, 12:] = 0
        for linear in (narrow.q, narrow.k, narrow.v):
            linear.weight, linear.bias = nn.Parameter(linear.weight[:12]), nn.Parameter(linear.bias[:12])
        narrow.proj.weight = nn.Parameter(narrow.proj.weight[:, :12])
        assert torch.allclose(narrow(x), masked(x), atol=1e-12)


def test_arguments_change_the_network() -> None:
    core = load("zoo:tiny-vit@image_size=32,patch_size=8,channels=3,classes=5,width=24,depth=2", weights="random")
    assert core.module(core.example_inputs[0]).shape == (2, 5)
    assert (core.source, core.arguments["width"], core.class_names) == ("zoo:tiny-vit", 24, ())
    again = ZOO.get("tiny-vit").build(**json.loads(json.dumps(dict(core.arguments))))
    again.load_state_dict(core.module.state_dict())
    assert torch.equal(again.eval()(core.example_inputs[0]), core.module(core.example_inputs[0]))


def test_list_arguments_are_joined_by_an_x() -> None:
    core = load("zoo:mlp@hidden=16x8,input_shape=4", weights="random")
    assert [layer.out_features for layer in core.module.layers] == [16, 8]
    assert core.example_inputs[0].shape == (2, 4)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("zoo:mlp@hiden=3", "argument of a zoo network: got 'hiden'; allowed: input_shape, hidden, classes"),
        ("zoo:mlp@hidden=a", "argument 'hidden' of a zoo network: got 'a'; allowed: numbers"),
        ("zoo:mlp@classes=0", "argument 'classes': got 0"),
        (f"zoo:mlp@classes={MAX_ARGUMENT + 1}", "argument 'classes': got 4097"),
        ("zoo:mlp@classes=9999999999", "got '9999999999'"),
        ("zoo:tiny-vit@width=50", "width 50 is no multiple of 4 heads"),
        ("zoo:tiny-vit@image_size=9", "no multiple of the patch size"),
        ("zoo:digits-cnn@streams=8x8", "cannot be built"),
        ("zoo:tiny-vit@width=4096,depth=64", "values; allowed: up to 268435456"),
        ("zoo:mlp@input_shape=4096x4096x4096", "values; allowed: up to 268435456"),
        ("zoo:cifar-resnet20", "no weights come with 'zoo:cifar-resnet20'. Give weights=FILE"),
        ("zoo:mlp@hidden=8", "no weights come with 'zoo:mlp' of these arguments"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(source: str, words: str) -> None:
    with pytest.raises(LoadError, match=words.replace("(", r"\(")):
        load(source)


@pytest.mark.parametrize("value", [True, 1.5, "8", [], [0], [1] * 17, None])
def test_values_of_the_wrong_kind_from_a_file_are_refused(value: object) -> None:
    with pytest.raises(LoadError, match=r"argument '(hidden|classes)'"):
        ZOO.get("mlp").build(hidden=value, classes=value)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_are_small_and_as_their_card_says(name: str) -> None:
    network = ZOO.get(name)
    path = network.weights_path
    assert path is not None
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    content = path.read_bytes()
    assert len(content) == card["bytes"] < (2_000_000 if name == "tiny-decoder" else 500_000)
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert card["licence"] == ZOO.entry(name).licence == load(f"zoo:{name}").licence
    if name != "tiny-decoder":
        assert card["parts"] == {"train": 1078, "validation": 359, "test": 360}


@pytest.mark.parametrize(("name", "least"), [("mlp", 0.97), ("digits-cnn", 0.985), ("tiny-vit", 0.965)])
def test_packaged_weights_reach_the_accuracy_of_their_card(name: str, least: float) -> None:
    pytest.importorskip("sklearn")
    core = load(f"zoo:{name}")
    data = open_data("zoo:digits@test", preprocess=core.preprocess, class_names=core.class_names)
    with torch.no_grad():
        rows = Classification(core.class_names).observe(core.module(data.inputs), data.tensors)
    accuracy = float(rows["correct"].double().mean())
    card = json.loads(ZOO.get(name).weights_path.with_suffix(".json").read_text(encoding="utf-8"))
    assert accuracy == pytest.approx(card["figures"]["test"]["accuracy"], abs=0.006)
    assert accuracy >= least
