"""The one shape of a way to take an attribute out of a representation: a loss that falls as the attribute goes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from concertina.registry import Registry


class Removal(ABC):
    """A way to take an attribute out; found through `REMOVALS`, one object for each operating point.

    Args:
        features: Values of a representation.
        values: How many values the attribute has.
        seed: Of its random values.
    """

    weight: float
    """What its loss counts beside the task's, unless said."""

    def __init__(self, features: int, values: int, seed: int) -> None:
        self.features, self.values, self.seed = features, values, seed

    @abstractmethod
    def loss(self, representation: Tensor, attribute: Tensor) -> Tensor:
        """Return a scalar whose gradient leads the representation away from the attribute.

        Args:
            representation: What the network makes of samples, (n, features).
            attribute: Number of each sample's value, (n,) int64; all values about equally often.
        """


REMOVALS: Registry[type[Removal]] = Registry("way to remove an attribute")
