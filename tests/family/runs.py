"""Networks with tensor sides of several runs: concatenations, fused projections, gates, padded shortcuts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.analyse import analyse
from concertina.family import Family
from concertina.load.data import ArrayData
from concertina.types import Core, Graph

CLASSES = 3


class Concatenated(nn.Module):
    """Two branches, one after the other in a norm and a convolution; one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.norm, self.joined = nn.BatchNorm2d(14), nn.Conv2d(14, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.left(x)), F.relu(self.right(x))
        x = self.norm(torch.cat((right, left, right), 1))
        return self.head(F.relu(self.joined(x)).mean((2, 3)))


class Fused(nn.Module):
    """Attention with the queries, the keys and the values of all heads in one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.num_heads = nn.Linear(2, 12), 3
        self.qkv, self.proj, self.head = nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(2).transpose(1, 2))
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).flatten(2)
        return self.head((x + self.proj(seen)).mean(1))


class Recurrent(nn.Module):
    """A recurrent network of two levels between linear layers."""

    def __init__(self, kind: type[nn.RNNBase], **options: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 6)
        self.recurrent = kind(6, 8 + options.get("proj_size", 0), 2, batch_first=True, **options)
        self.head = nn.Linear(16 if options.get("bidirectional") else 8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embed(x.flatten(2).transpose(1, 2)))[0][:, -1])


class Padded(nn.Module):
    """Two residual stages, the first one's channels in the middle of the second's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = nn.Conv2d(2, 8, 3, padding=1), *(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.wide, self.back = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 16, 1)
        self.norm, self.head = nn.BatchNorm2d(16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.outer(F.relu(self.inner(x)))
        x = F.pad(x, (0, 0, 0, 0, 4, 4)) + self.norm(self.back(F.relu(self.wide(x))))
        return self.head(F.relu(x).mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int, set[str]]] = {
    "concatenation": (Concatenated, "right", 4, {"norm.weight", "norm.bias", "norm.running_var", "joined.weight"}),
    "fused projection": (Fused, "qkv", 3, {"qkv.weight", "qkv.bias"}),
    "LSTM": (lambda: Recurrent(nn.LSTM), "recurrent", 8, {"recurrent.weight_hh_l0", "recurrent.bias_ih_l1"}),
    "GRU": (lambda: Recurrent(nn.GRU), "recurrent", 8, {"recurrent.weight_ih_l1", "recurrent.bias_hh_l0"}),
    "padded shortcut": (Padded, "stem", 8, {"back.weight", "norm.running_mean", "head.weight"}),
}
"""Kind -> how to build one, a group that owns runs, its units, and some tensors on which it owns them."""


@cache
def core(kind: str) -> Core:
    torch.manual_seed(0)
    return ct.load(NETWORKS[kind][0]().eval(), images(4).tensors[0])


def images(count: int) -> ArrayData:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 2, 4, 4, generator=generator)
    return ArrayData((x, (x.mean((1, 2, 3)) > 0).long()), tuple("abc"))


@cache
def graph(kind: str) -> Graph:
    return analyse(core(kind))


@cache
def family(kind: str, recipe: str = "sandwich") -> Family:
    """Return a family of three points and more, trained for a few steps."""
    data = images(64)
    options = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02, "augment": "none", "recipe": recipe}
    return ct.fit(core(kind), data, data, points=(0.4, 0.7, 1.0), **options)


def fresh(kind: str, recipe: str = "sandwich") -> Family:
    """Return a family of its own, to be changed."""
    made = family(kind, recipe)
    return Family(made.core, copy.deepcopy(made.supernet), graph=made.graph, evidence=made.evidence, task=made.task)
