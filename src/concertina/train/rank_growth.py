"""Ranks that grow in training: layers whose change matters most are given the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from concertina.nest.plugged import BETWEEN, Plug

UNTIL = 0.25
"""Share of training after which all ranks are given out; later ones learn too little (0.6 was worse on digits)."""
ROUNDS = 10
"""Times at which ranks are given out, at most."""
MEMORY = 0.85
"""How much of a layer's importance is kept from step to step."""


class RankGrowth:
    """Hands out the ranks of one plug in training; does nothing for a plug that does not grow.

    A layer's importance is the mean of |value times gradient| over the values of the ranks it has, smoothed over steps.
    In each of a few rounds the most important layers get one rank more, until all layers together have as many as a
    plug of rank `grow_to` would.

    Args:
        plug: Where training starts.
        leaves: Its tensors, as they are trained.
        steps: Steps of the whole training.

    Source: Zhang et al. 2023, IncreLoRA (arXiv:2308.12043), with ranks in rounds and without its reserve.
    """

    def __init__(self, plug: Plug, leaves: Mapping[str, Tensor], steps: int) -> None:
        self._plug, self._leaves = plug, leaves
        grows = plug.kind == "lora" and plug.options["grow_to"] > plug.options["rank"]
        self.ranks = dict.fromkeys(plug.places, plug.options["rank"]) if grows else {}
        """Path of a layer -> the rank that it has now; none for a plug that does not grow."""
        self._importance = dict.fromkeys(self.ranks, 0.0)
        self._left = (plug.options["grow_to"] - plug.options["rank"]) * len(self.ranks) if grows else 0
        last = max(1, int(UNTIL * steps))
        count = min(ROUNDS, last)
        self._rounds = [max(1, last * (i + 1) // count) for i in range(count)]

    def before_step(self, position: int) -> None:
        """Note what gradients say of each layer, give out ranks where it is time, and hold the rest as they are.

        Args:
            position: Steps done before this one.
        """
        for path in self.ranks:
            seen = [(leaf * leaf.grad).abs() for leaf in self._held(path, self.ranks[path]) if leaf.grad is not None]
            now = float(torch.cat([each.flatten() for each in seen]).mean()) if seen else 0.0
            self._importance[path] = MEMORY * self._importance[path] + (1 - MEMORY) * now
        while self._rounds and self._rounds[0] <= position + 1:
            self._give(-(-self._left // len(self._rounds)))
            self._rounds.pop(0)
        for path, rank in self.ranks.items():
            for key, side in (("A", 0), ("B", 1)):
                leaf = self._leaves[f"{path}{BETWEEN}{key}"]
                if leaf.grad is not None:
                    leaf.grad.narrow(side, rank, leaf.shape[side] - rank).zero_()

    def grown(self, plug: Plug) -> tuple[Plug, ...]:
        """Return a trained plug as plugs that do not grow, one for the layers of each rank.

        Args:
            plug: The plug with its trained values.
        """
        if not self.ranks:
            return (plug,)
        scale = plug.options["alpha"] / plug.options["grow_to"]
        found = []
        for rank in sorted(set(self.ranks.values())):
            places = {
                path: {
                    name: replace(own, tensor=own.tensor.narrow(0 if name == "A" else 1, 0, rank).clone())
                    for name, own in held.items()
                }
                for path, held in plug.places.items()
                if self.ranks[path] == rank
            }
            options = {**plug.options, "rank": rank, "alpha": scale * rank, "grow_to": 1}
            found.append(Plug(plug.kind, options, places))
        return tuple(found)

    def _held(self, path: str, rank: int) -> Sequence[Tensor]:
        """Return the values of the ranks that a layer has, with their gradients."""
        found = []
        for key, side in (("A", 0), ("B", 1)):
            leaf = self._leaves[f"{path}{BETWEEN}{key}"]
            view = leaf.detach().narrow(side, 0, rank)
            view.grad = None if leaf.grad is None else leaf.grad.narrow(side, 0, rank)
            found.append(view)
        return found

    def _give(self, count: int) -> None:
        """Give out ranks, one to a layer at a time, the most important first."""
        while count > 0:
            room = [path for path, rank in self.ranks.items() if rank < self._most(path)]
            if not room:
                return
            for path in sorted(room, key=lambda path: -self._importance[path])[:count]:
                self.ranks[path] += 1
                self._left -= 1
                count -= 1

    def _most(self, path: str) -> int:
        return len(self._leaves[f"{path}{BETWEEN}A"])
