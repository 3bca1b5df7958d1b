"""How a family is trained, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainSettings:
    """How a family is trained; equal settings and data give equal results."""

    epochs: float = 4.0
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 5e-4
    """Decoupled decay of matrices, on the trained region only."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    warmup_share: float = 0.05
    """Share of each phase in which the learning rate rises; then it falls as a cosine."""
    distill_weight: float = 1.0
    """Weight of the frozen core's teaching where a phase asks for it."""
    full_from_core: float = 0.0
    """Weight of the core's teaching of each step's first point beside its labels, in recipes that do not ask for it.

    Source: Hinton et al. 2015 (arXiv:1503.02531).
    """
    shrink_share: float = 0.0
    """Share of each phase over which the smaller points join one by one, largest first; 0: all from the start.

    Source: progressive shrinking, Cai et al. 2020 (arXiv:1908.09791).
    """
    random_specs: int = 0
    """Random specs of the whole space that each step trains after its points, normalised by its batch; 0: none.

    For families to be searched: subnets far from any point are of use only where training met such subnets. A step
    costs so much more. In recipes that train one point after another there is no room for them.

    Source: the sandwich rule's random widths, Yu and Huang 2019 (arXiv:1903.05134).
    """
    clip_norm: float = 0.0
    """Largest norm of all gradients of a step together; 0: no limit. Source: Pascanu et al. 2013 (arXiv:1211.5063)."""
    average: float = 0.0
    """Decay of a running average of all weights that takes their place at the end of each phase; 0: none.

    Source: Polyak and Juditsky 1992; for subnets and online updates METHODS 004-264.
    """
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of the passes; weights stay float32."""
