"""Adapters of PEFT: read and written so that both sides give the same answers, on every size of a family."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import concertina as ct
from concertina.errors import ConcertinaError, FormatError, InputError
from concertina.family import Family
from concertina.nest import Supernet, permute, random_spec
from concertina.nest.core_order import as_loaded
from concertina.nest.plugged import with_plugs

peft = pytest.importorskip("peft")
hf = pytest.importorskip("transformers")


class Mixed(nn.Module):
    """Words, two kinds of convolutions, a linear layer and a head: every kind of layer that PEFT adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 12)
        self.widen = nn.Conv1d(12, 24, 3, padding=1)
        self.image = nn.Conv2d(24, 16, (1, 3), stride=(1, 2), padding=(0, 1), bias=False)
        self.depthwise = nn.Conv2d(16, 16, 1, groups=16)
        self.inner = nn.Linear(16, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.widen(self.words(ids).transpose(1, 2)))
        x = torch.relu(self.depthwise(torch.relu(self.image(x[:, :, None]))))
        return self.head(torch.relu(self.inner(x.mean((2, 3)))))


@cache
def made(network: str) -> tuple[Family, nn.Module, Tensor]:
    """Return a family whose weights are its core's, the network as its users hold it, and inputs."""
    torch.manual_seed(0)
    if network == "mixed":
        core = ct.load(Mixed().eval(), torch.randint(0, 20, (4, 10)), class_names=("a", "b", "c"))
    elif network == "gpt2":
        config = hf.GPT2Config(vocab_size=60, n_positions=20, n_embd=16, n_layer=2, n_head=2, pad_token_id=0)
        theirs = hf.GPT2ForSequenceClassification(config).eval()
        core = ct.load(Outputs(theirs), torch.randint(1, 60, (4, 8)), class_names=("bad", "good"))
    else:
        core = ct.load(network)
    data = [(*core.example_inputs, torch.zeros(len(core.example_inputs[0]), dtype=torch.int64))]
    return untrained(core, data), core.module, core.example_inputs[0]


def untrained(core: ct.Core, data: Any) -> Family:
    """Return a family with the points p50 and p100 whose weights are the core's."""
    return ct.prepare(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2").family


class Outputs(nn.Module):
    """A network of transformers that gives its logits alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor) -> Tensor:
        return self.inner(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def stirred(adapted: nn.Module, seed: int = 1) -> nn.Module:
    """Give everything that PEFT would train random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                drawn = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter.copy_(drawn + (1 if "ia3_" in name else 0))
    return adapted.eval()


def trained(network: str, folder: Path, config: Any) -> tuple[Family, nn.Module, Tensor]:
    """Write an adapter of PEFT with random values for a family's core; return the family, PEFT's network, inputs."""
    family, module, inputs = made(network)
    adapted = stirred(peft.get_peft_model(copy.deepcopy(module), config))
    adapted.save_pretrained(folder)
    return family, adapted, inputs


def lora(**options: Any) -> Any:
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "init_lora_weights": False} | options)


CONFIGS = {
    "linear": ("zoo:mlp", lambda: lora(target_modules="all-linear")),
    "attention": ("zoo:tiny-vit", lambda: lora(target_modules=["q", "v", "fc2"], use_rslora=True, lora_dropout=0.1)),
    "convolutions": ("zoo:digits-cnn", lambda: lora(target_modules=["stem.conv", "conv1.conv", "head"])),
    "every layer": ("mixed", lambda: lora(target_modules=["words", "widen", "image", "inner"])),
    "head": ("mixed", lambda: lora(target_modules=["inner"], modules_to_save=["head"])),
    "ranks": (
        "zoo:tiny-vit",
        lambda: lora(target_modules=["fc1", "q"], rank_pattern={"fc1": 2, "blocks.0.attention.q": 3},
                     alpha_pattern={"^blocks\\.1\\.mlp\\.fc1": 9, "q": 2}),
    ),
    "one by name": ("zoo:tiny-vit", lambda: lora(target_modules=["embed"])),
    "turned weights": ("gpt2", lambda: lora(target_modules=["c_attn", "c_fc", "mlp.c_proj"], fan_in_fan_out=True,
                                            modules_to_save=["score"])),
    "ia3": ("zoo:tiny-vit", lambda: peft.IA3Config(target_modules=["k", "v", "fc2"], feedforward_modules=["fc2"])),
    "ia3 convolutions": (
        "mixed",
        lambda: peft.IA3Config(target_modules=["image", "depthwise", "inner"],
                               feedforward_modules=["image", "depthwise"], modules_to_save=["head"]),
    ),
    "ia3 turned weights": (
        "gpt2",
        lambda: peft.IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
                               fan_in_fan_out=True),
    ),
}  # fmt: skip


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= 1e-4 * max(1.0, float(one.abs().max()))


@pytest.mark.parametrize("case", CONFIGS)
def test_an_adapter_gives_the_answers_it_gives_in_peft_and_comes_back_as_it_went(case: str, tmp_path: Path) -> None:
    network, config = CONFIGS[case]
    family, adapted, inputs = trained(network, tmp_path / "theirs", config())
    family.load_peft(tmp_path / "theirs", "adapter")
    family.save_peft("adapter", tmp_path / "ours")
    back = peft.PeftModel.from_pretrained(copy.deepcopy(made(network)[1]), tmp_path / "ours").eval()
    with torch.no_grad():
        plain, wanted = family.view("p100")(inputs), adapted(inputs)
        attached, merged = (family.with_modules("p100", "adapter", merged=m)(inputs) for m in (False, True))
        again = back(inputs)
    assert not torch.allclose(plain, wanted, atol=1e-3)
    family.modules.delete("adapter")
    assert close(wanted, attached)
    assert close(wanted, merged)
    assert close(wanted, again)
    theirs, ours = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("theirs", "ours"))
    assert set(theirs) == set(ours)
    assert all(torch.allclose(tensor, ours[key], atol=1e-6) for key, tensor in theirs.items())


@pytest.mark.parametrize("case", ["attention", "convolutions", "every layer", "turned weights", "ia3 convolutions"])
def test_an_adapter_on_a_narrow_subnet_is_the_subnet_of_the_adapted_core(case: str, tmp_path: Path) -> None:
    """PEFT merges into the whole core, which is then sorted and cut; against the family's subnet with the module."""
    network, config = CONFIGS[case]
    family, adapted, inputs = trained(network, tmp_path, config())
    module, supernet = family.load_peft(tmp_path, "adapter"), family.supernet
    family.modules.delete("adapter")
    whole = adapted.merge_and_unload()
    permute(whole, family.graph, supernet.permutations)
    sorted_core = Supernet(whole, supernet.order, supernet.costs, supernet.permutations)
    generator = torch.Generator().manual_seed(0)
    for spec in [random_spec(supernet.space, generator) for _ in range(3)]:
        with torch.no_grad():
            assert close(sorted_core.subnet(spec)(inputs), with_plugs(supernet, spec, module.plugs)(inputs))


def test_a_trained_adapter_of_peft_helps_narrow_subnets_too(tmp_path: Path) -> None:
    """Trained by PEFT on the whole core alone; a subnet of half the MACs is better for it in the same domain."""
    core = ct.load("zoo:mlp")
    train, held = (
        ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess, class_names=core.class_names)
        for part in ("train", "validation")
    )
    family = ct.prepare(core, train, points=(0.7,), epochs=0, criterion="magnitude-l2").family
    adapted = peft.get_peft_model(copy.deepcopy(core.module), peft.LoraConfig(r=8, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], 0.01)
    dark = [each.inputs.amax() + each.inputs.amin() - each.inputs for each in (train, held)]
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(adapted(dark[0]), train.labels).backward()
        optimizer.step()
    adapted.eval().save_pretrained(tmp_path)
    family.load_peft(tmp_path, "dark")
    with torch.no_grad():
        right = {
            point: [float((net(dark[1]).argmax(1) == held.labels).float().mean()) for net in (plain, plugged)]
            for point in ("p70", "p100")
            for plain, plugged in [(family.view(point), family.with_modules(point, "dark"))]
        }
        assert close(adapted(dark[1]), family.with_modules("p100", "dark")(dark[1]))
    assert right["p100"][1] > right["p100"][0] + 0.3
    assert right["p70"][1] > right["p70"][0] + 0.1


def test_networks_of_transformers_go_by_the_librarys_own_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = hf.BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=32, max_position_embeddings=20)  # fmt: skip
    hf.BertForSequenceClassification(config).eval().save_pretrained(tmp_path / "core")
    core = ct.load(f"hf:{tmp_path / 'core'}", class_names=("bad", "good"))
    data = [(core.example_inputs[0], torch.zeros(2, dtype=torch.int64))]
    family = untrained(core, data)
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "core")
    settings = lora(target_modules=["query", "value", "word_embeddings"], task_type="SEQ_CLS")
    adapted = stirred(peft.get_peft_model(theirs, settings))
    adapted.save_pretrained(tmp_path / "theirs")
    ids = core.example_inputs[0]
    family.load_peft(tmp_path / "theirs", "adapter")
    family.save_peft("adapter", tmp_path / "ours")
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "core")
    back = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours").eval()
    with torch.no_grad():
        wanted = adapted(input_ids=ids).logits
        assert close(wanted, family.with_modules("p100", "adapter")(ids))
        assert close(wanted, back(input_ids=ids).logits)


def test_a_head_for_other_classes_needs_their_names(tmp_path: Path) -> None:
    family, module, inputs = made("mixed")
    wider = copy.deepcopy(module)
    wider.head = nn.Linear(32, 5)
    stirred(peft.get_peft_model(wider, lora(target_modules=["inner"], modules_to_save=["head"]))).save_pretrained(
        tmp_path
    )
    with pytest.raises(InputError, match="class_names: got 0; allowed: 5"):
        family.load_peft(tmp_path, "five")
    assert family.load_peft(tmp_path, "five", class_names=tuple("vwxyz")).class_names == tuple("vwxyz")
    assert family.with_modules("p50", "five")(inputs).shape == (4, 5)
    family.modules.delete("five")


def test_a_module_that_was_adapted_here_loads_in_peft(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    core = ct.load("zoo:mlp")
    train = ct.open_data("zoo:digits@train", preprocess=core.preprocess, class_names=core.class_names)
    family = untrained(core, train)
    for kind in ("lora", "ia3"):
        family.adapt(kind, train.subset(range(128)), epochs=2, kind=kind)
        family.save_peft(kind, tmp_path / kind)
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(core.module), tmp_path / kind).eval()
        with torch.no_grad():
            assert close(theirs(train.inputs[:32]), family.with_modules("p100", kind)(train.inputs[:32]))
    assert not caplog.records
    family.save(tmp_path / "family.concertina")
    grown = ct.open(tmp_path / "family.concertina", upto=0.5)
    grown.grow()
    again = grown.load_peft(tmp_path / "lora", "again")
    assert again.plugs[0].num_parameters == family.modules["lora"].plugs[0].num_parameters
    with torch.no_grad():
        one, other = (
            each.with_modules("p50", n)(train.inputs[:32]) for each, n in ((family, "lora"), (grown, "again"))
        )
    assert torch.allclose(one, other, atol=1e-5)
    with torch.no_grad():
        next(grown.supernet.module.parameters()).add_(0.1)
    grown.load_peft(tmp_path / "lora", "late")
    assert "the family's weights have been trained since" in caplog.text


def test_the_core_as_loaded_is_found_again() -> None:
    for network in ("zoo:digits-cnn", "gpt2"):
        family, module, _ = made(network)
        found = as_loaded(family.supernet).state_dict()
        assert all(torch.equal(tensor, found[key]) for key, tensor in module.state_dict().items())


def edit(folder: Path, change: Any) -> None:
    """Change the two files of an adapter."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    change(config, tensors)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")


def first(tensors: dict, end: str) -> str:
    return next(key for key in tensors if key.endswith(end))


WRONG = {
    "bias": (lambda c, t: c.update(bias="all"), "option 'bias' of a lora adapter: got 'all'; allowed: 'none'"),
    "dora": (lambda c, t: c.update(use_dora=True), "option 'use_dora'"),
    "start": (lambda c, t: c.update(init_lora_weights="pissa"), "option 'init_lora_weights'"),
    "unknown": (lambda c, t: c.update(use_tomorrow={"x": 1}), "option 'use_tomorrow'"),
    "type": (lambda c, t: c.update(peft_type="LOHA"), "peft_type .* got 'LOHA'; allowed: 'LORA', 'IA3'"),
    "no type": (lambda c, t: c.pop("peft_type"), "peft_type"),
    "rank": (lambda c, t: c.update(r=3), "'lora_A' of .* got rank 4; allowed: rank 3"),
    "alpha": (lambda c, t: c.update(lora_alpha=0), "'lora_alpha' .* above 0"),
    "pattern": (lambda c, t: c.update(rank_pattern={"(a+)+x": 3}), "no regular expressions"),
    "no B": (lambda c, t: t.pop(first(t, "lora_B.weight")), "no lora_B"),
    "no layer": (
        lambda c, t: [t.pop(k) for k in list(t) if "blocks.2." in k],
        "blocks.2.* though target_modules names it",
    ),
    "shape": (lambda c, t: t.update({first(t, "lora_B.weight"): torch.zeros(7, 4)}), r"lora_B' .* got shape \(7, 4\)"),
    "infinite": (lambda c, t: t[first(t, "lora_A.weight")].fill_(float("inf")), "lora_A.* NaN or infinite"),
    "stray": (
        lambda c, t: t.update({"base_model.model.norm.weight": torch.zeros(48)}),
        "'base_model.model.norm.weight'",
    ),
    "saved": (
        lambda c, t: (c.update(modules_to_save=["norm"]), t.update({"base_model.model.norm.weight": torch.zeros(48)})),
        "'norm.weight' of the adapter, of a layer saved whole",
    ),
    "elsewhere": (
        lambda c, t: t.update({f"base_model.model.blocks.9.q.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"}),
        "layer of the adapter: got 'blocks.9.q'",
    ),
    "no prefix": (lambda c, t: t.update({"x.lora_A.weight": torch.zeros(4, 4)}), "'x.lora_A.weight'"),
    "magnitude": (
        lambda c, t: t.update({"base_model.model.blocks.0.attention.q.lora_magnitude_vector.weight": torch.zeros(4)}),
        "lora_magnitude_vector",
    ),
    "whole numbers": (
        lambda c, t: t.update({first(t, "lora_A.weight"): torch.zeros(4, 48, dtype=torch.int64)}),
        "int64",
    ),
    "norm": (
        lambda c, t: t.update({f"base_model.model.norm.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"}),
        "'norm' of the adapter: got LayerNorm",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_taken_in(case: str, tmp_path: Path) -> None:
    change, says = WRONG[case]
    family, _, _ = trained("zoo:tiny-vit", tmp_path, lora(target_modules=["q"]))
    edit(tmp_path, change)
    with pytest.raises(ConcertinaError, match=says):
        family.load_peft(tmp_path, "wrong")
    assert not len(family.modules)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    family, _, _ = trained("zoo:tiny-vit", tmp_path, lora(target_modules=["q"]))
    with pytest.raises(ConcertinaError, match=r"one with adapter_config\.json"):
        family.load_peft(tmp_path / "nowhere", "x")
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(FormatError, match="is damaged"):
        family.load_peft(tmp_path, "x")
    weights.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(FormatError, match=r"never read.*writes safetensors"):
        family.load_peft(tmp_path, "x")
    (tmp_path / "adapter_config.json").write_text("[1")
    (tmp_path / "adapter_model.bin").rename(weights)
    with pytest.raises(FormatError, match="no sound JSON"):
        family.load_peft(tmp_path, "x")


def test_what_peft_has_no_place_for_is_refused(tmp_path: Path) -> None:
    family, _, inputs = made("mixed")
    data = ct.load("zoo:digits-cnn")
    for kind, options, says in (
        ("adapter", {}, "as a PEFT adapter: got adapter; allowed: lora or ia3"),
        ("lora", {"layers": ["depthwise"]}, "'depthwise' of the adapter: got Conv2d"),
        ("ia3", {"layers": ["widen"]}, "'widen' of the adapter: got Conv1d"),
    ):
        family.adapt(kind, [(inputs, torch.tensor([0, 1, 2, 0]))], epochs=1, batch_size=2, kind=kind, **options)
        with pytest.raises(InputError, match=says):
            family.save_peft(kind, tmp_path / kind)
        assert not (tmp_path / kind).exists()
        family.modules.delete(kind)
    cnn, images = made("zoo:digits-cnn")[0], ct.open_data("zoo:digits@train", preprocess=data.preprocess)
    cnn.adapt("lora", images.subset(range(64)), epochs=0.5)
    with pytest.raises(InputError, match="statistics of its own"):
        cnn.save_peft("lora", tmp_path / "lora")
    cnn.modules.delete("lora")
