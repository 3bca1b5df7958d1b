"""Networks that are made to deceive: what cannot be cut must come out rigid, with a reason that names the place."""

from __future__ import annotations

import threading

import pytest
import torch
from tests.analyse.hostile import HOSTILE, Between
from tests.analyse.networks import IMAGES, SEARCH_S, SOUND, TOKENS, BranchNotTaken, TiedVocabulary, core_of
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse import analyse
from concertina.types import Core, Graph, Group

FIRST_STEP = {
    "hard view": "slice",
    "constant": "slice",
    "root of width": "meaning",
    "softmax": "meaning",
    "top k": "meaning",
    "if wide": "meaning",
    "if not narrow": "meaning",
    "unit length": "meaning",
    "deviation": "slice",
    "sum": "meaning",
    "neighbours": "permute",
    "padded": "slice",
}
"""Which step must see through which function of channels."""


def found(name: str) -> Graph:
    torch.manual_seed(0)
    make, shape = SOUND[name]
    return analyse(core_of(make(), *shape), time_limit_s=SEARCH_S)


def group_of(graph: Graph, name: str) -> Group:
    return next(group for group in graph.groups if group.name == name)


def positions(group: Group) -> dict[tuple[str, int], int]:
    return {(member.tensor, member.dim): member.positions for member in group.members}


@pytest.mark.parametrize("name", FIRST_STEP)
def test_functions_that_forbid_cutting_make_their_channels_rigid_and_no_others(name: str) -> None:
    torch.manual_seed(0)
    graph = analyse(core_of(Between(HOSTILE[name]), *IMAGES))
    assert group_of(graph, "conv1").rigid.startswith(f"{FIRST_STEP[name]}: ")
    assert group_of(graph, "conv2").elastic
    assert group_of(graph, "head").rigid == "it is the network's output"


def test_the_reason_says_what_failed_and_where() -> None:
    graph = analyse(core_of(Between(HOSTILE["hard view"]), *IMAGES))
    assert "with 8 of its 16 units" in group_of(graph, "conv1").rigid
    assert "shape '[2, 16, 64]' is invalid" in group_of(graph, "conv1").rigid
    graph = analyse(core_of(Between(HOSTILE["padded"]), *IMAGES))
    assert "'conv2' fails" in group_of(graph, "conv1").rigid


def test_a_search_that_does_not_end_is_stopped_and_what_it_did_not_find_is_rigid() -> None:
    graph = analyse(core_of(Between(HOSTILE["swapped halves"]), *IMAGES), time_limit_s=0.5)
    why = "propose: the search for coupled channels did not end within 0.5 s"
    assert group_of(graph, "conv1").rigid == why
    assert group_of(graph, "conv2").elastic
    assert [t.name for t in threading.enumerate() if t.name == "concertina-dependency-graph"] == []


def test_a_module_never_reached_makes_all_rigid_until_somebody_vouches_for_it() -> None:
    core = core_of(BranchNotTaken(), *TOKENS)
    graph = analyse(core)
    assert graph.unreached == ("other",)
    assert group_of(graph, "up").rigid.startswith("reach: the example inputs never reach 'other'")
    assert group_of(analyse(core, ignore=("other",)), "up").elastic


def test_concatenated_channels_own_runs_of_what_their_reader_reads() -> None:
    graph = found("concat")
    assert all(group_of(graph, name).elastic for name in ("a", "b", "reader"))
    read = [m for name in ("a", "b") for m in group_of(graph, name).members if m.tensor == "reader.weight"]
    assert [(m.dim, m.start) for m in read] == [(1, 0), (1, group_of(graph, "a").units)]
    assert {m.of for m in read} == {sum(group_of(graph, name).units for name in ("a", "b"))}


def test_units_follow_grouped_layers_and_flattening() -> None:
    grouped = group_of(found("grouped"), "conv1")
    assert (grouped.units, grouped.elastic) == (4, True)
    assert positions(grouped) == {
        ("conv1.weight", 0): 2,
        ("conv1.bias", 0): 2,
        ("grouped.weight", 0): 4,
        ("grouped.bias", 0): 4,
        ("conv2.weight", 1): 4,
    }
    declared = {(a.attribute, a.positions) for a in grouped.attributes if a.module == "grouped"}
    assert declared == {("groups", 1), ("in_channels", 2), ("out_channels", 4)}
    assert group_of(found("group norm"), "conv1").units == 4
    assert group_of(found("one group norm"), "conv1").units == 12
    assert positions(group_of(found("flatten"), "conv"))["fc.weight", 1] == 16


@pytest.mark.parametrize("name", ["depthwise", "squeeze-excite", "shared MLP", "tied layers", "layer scale", "buffer"])
def test_everything_but_the_output_is_elastic(name: str) -> None:
    graph = found(name)
    assert [group.rigid for group in graph.groups if group.rigid] == ["it is the network's output"]


def test_tied_tensors_are_one_member_of_one_group() -> None:
    up = group_of(found("tied layers"), "up1")
    assert [m.tensor for m in up.members] == ["up1.weight", "up1.bias", "up2.bias", "down.weight"]
    assert {a.module for a in up.attributes} == {"up1", "up2", "down"}
    ids = torch.arange(12).reshape(2, 6) % 11
    graph = analyse(core_of(TiedVocabulary(), inputs=(ids,)))
    stream = group_of(graph, "embed")
    assert stream.elastic
    assert [m.role for m in stream.members if m.tensor == "embed.weight"] == ["tied"]
    assert [group.units for group in graph.groups if group.rigid] == [11]


def test_tensors_used_by_themselves_are_found_even_when_the_proposer_has_the_wrong_side() -> None:
    members = positions(group_of(found("buffer"), "conv1"))
    assert members["place", 1] == 1
    assert members["scale", 0] == 1


def test_declared_numbers_of_heads_follow_the_slice_also_with_shared_keys() -> None:
    heads = group_of(found("counted heads"), "blocks.1.attention")
    declared = {a.attribute: a.positions for a in heads.attributes if a.module == "blocks.1.attention"}
    assert (heads.units, declared) == (4, {"num_heads": 1, "num_kv_heads": 1})
    heads = group_of(found("grouped queries"), "blocks.1.attention")
    declared = {a.attribute: a.positions for a in heads.attributes if a.module == "blocks.1.attention"}
    assert (heads.units, declared) == (2, {"num_heads": 2, "num_kv_heads": 1})
    assert positions(heads)["blocks.1.attention.q_proj.weight", 0] == 8


def test_class_token_and_positions_are_members_of_the_stream() -> None:
    stream = positions(group_of(found("counted heads"), "embed"))
    assert {("token", 2), ("places", 2)} <= set(stream)


def test_attention_that_has_no_rule_is_rigid_and_the_rest_is_not() -> None:
    graph = found("torch attention")
    assert "there is no rule for what 'blocks.0.attention.inner' does" in group_of(graph, "embed").rigid
    assert group_of(graph, "blocks.0.mlp.0").elastic
    graph = found("fused attention")
    assert group_of(graph, "blocks.0.attention").elastic
    assert group_of(graph, "embed").elastic


def test_groups_that_hold_one_by_one_but_not_together_are_sorted_out() -> None:
    class NeedsSix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.a(x))
            y = F.relu(self.b(x))
            if x.shape[-1] + y.shape[-1] < 6:
                raise ValueError("too narrow")
            return self.c(y).mean(1)

    graph = analyse(core_of(NeedsSix(), *TOKENS))
    assert group_of(graph, "a").elastic
    assert group_of(graph, "b").rigid.startswith("jointly: together with other groups and blocks")
    assert "too narrow" in group_of(graph, "b").rigid


def test_a_network_that_runs_in_single_precision_only_is_analysed_in_it() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(12, 8), nn.Linear(8, 5)
            self.fixed = torch.randn(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.down(F.relu(self.up(x))), self.fixed).mean(1)

    graph = analyse(core_of(Single(), *TOKENS))
    assert group_of(graph, "up").elastic
    assert group_of(graph, "down").rigid


def test_a_single_output_is_known_as_the_output() -> None:
    network = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1))
    graph = analyse(core_of(network, 4, 12))
    assert [group.rigid for group in graph.groups] == ["", "it is the network's output"]
    narrow = nn.Sequential(nn.Linear(12, 1), nn.ReLU(), nn.Linear(1, 3))
    assert group_of(analyse(core_of(narrow, 4, 12)), "0").rigid == "it has one unit only"


def test_zero_example_inputs_hide_nothing() -> None:
    torch.manual_seed(0)
    make, shape = SOUND["flatten"]
    module = make()
    graph = analyse(Core(module.eval(), (torch.zeros(shape),), "module:Flatten", ""))
    assert [group.elastic for group in graph.groups] == [True, True, False]
