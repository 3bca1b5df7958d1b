"""Post-norm transformers: layers that end with a normalisation can be skipped, and every head is verified."""

from __future__ import annotations

import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.blocks import skipping

SMALL = "zoo:sentence-encoder@vocabulary=40,positions=12,width=16,layers=4,heads=4,inner=32,outputs=16"


def test_layers_and_their_attention_are_skippable_and_all_widths_elastic() -> None:
    graph = analyse(ct.load(SMALL, weights="random"))
    assert [block.path for block in graph.elastic_blocks] == [
        f"encoder.layer.{i}{part}" for i in range(4) for part in ("", ".attention")
    ]
    rigid = {group.name: group.rigid for group in graph.groups if not group.elastic}
    assert rigid == {"head": "it is the network's output"}
    heads = [group for group in graph.elastic_groups if group.name.endswith("attention.self")]
    assert [group.units for group in heads] == [4] * 4  # of the last layer too, where tokens are much alike


def test_a_skipped_layer_hands_on_what_it_was_given() -> None:
    module = ct.load(SMALL, weights="random").module
    ids = torch.tensor([[3, 4, 5]])
    shorter = ct.load(SMALL.replace("layers=4", "layers=3"), weights="random").module
    kept = {name: t for name, t in module.state_dict().items() if ".layer.1." not in name}
    shorter.load_state_dict(
        {name.replace("layer.2.", "layer.1.").replace("layer.3.", "layer.2."): t for name, t in kept.items()}
    )
    with torch.no_grad(), skipping(module, ["encoder.layer.1"]):
        assert torch.allclose(module(ids), shorter(ids), atol=1e-6)


class PostNorm(nn.Module):
    """A linear layer over a shortcut, normalised at the end."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc1, self.fc2, self.norm = nn.Linear(width, 16), nn.Linear(16, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.fc2(torch.relu(self.fc1(x))))


def test_a_post_norm_block_whose_input_is_not_normalised_is_rigid() -> None:
    first = nn.Sequential(nn.Linear(6, 8), PostNorm(), PostNorm(), nn.Linear(8, 3))
    graph = analyse(core_of(first, 2, 6))
    judged = {block.path: block.elastic for block in graph.blocks}
    assert judged == {"1": False, "2": True}


def test_a_normalisation_that_leaves_the_shortcut_out_is_no_block() -> None:
    class NoShortcut(PostNorm):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.fc2(torch.relu(self.fc1(x))))

    graph = analyse(core_of(nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), NoShortcut(), nn.Linear(8, 3)), 2, 6))
    assert not graph.elastic_blocks
