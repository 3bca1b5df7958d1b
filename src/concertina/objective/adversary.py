"""Adversary: a small network learns to read the attribute, and the representation learns to deceive it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.objective.removal import REMOVALS, Removal

ROUNDS = 3
"""Steps of the adversary for each of the representation."""
WIDTH = 64
RATE = 3e-3
"""The adversary's learning rate."""


@REMOVALS.register(
    "adversary", source="Ganin and Lempitsky, Gradient reversal (arXiv:1409.7495)", methods=("000-06",), year=2015
)
class Adversary(Removal):
    """A perceptron of two hidden layers that reads the attribute; its gradient reaches the representation reversed.

    It takes some steps of its own for each of the representation's, so that it stays a fair judge. Beyond pure
    guessing there is nothing to gain: an adversary that is wrong on purpose could be read the other way round.

    Use it beside "hsic": alone it removes what one network finds, and another may find the rest.
    """

    weight = 1.0

    def __init__(self, features: int, values: int, seed: int) -> None:
        super().__init__(features, values, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.reader = nn.Sequential(
                *(nn.Linear(features, WIDTH), nn.ReLU()),
                *(nn.Linear(WIDTH, WIDTH), nn.ReLU()),
                nn.Linear(WIDTH, values),
            )
        self.optimizer = torch.optim.AdamW(self.reader.parameters(), RATE)

    def loss(self, representation: Tensor, attribute: Tensor) -> Tensor:
        """Return what the adversary loses, with the gradient to the representation turned round."""
        scaled = representation / representation.detach().std(0).clamp_min(1e-3)
        for _ in range(ROUNDS):
            self.optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self.reader(scaled.detach()), attribute).backward()
            self.optimizer.step()
        for parameter in self.reader.parameters():
            parameter.requires_grad_(False)
        lost = F.cross_entropy(self.reader(Reversed.apply(scaled)), attribute)
        for parameter in self.reader.parameters():
            parameter.requires_grad_(True)
        return lost if float(lost.detach()) < math.log(self.values) else lost.detach()


class Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """Return the input."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        """Return the gradient reversed."""
        return -gradients[0]
