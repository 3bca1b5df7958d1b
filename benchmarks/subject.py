"""What a benchmark of one network holds: the network and its data."""

from __future__ import annotations

from dataclasses import dataclass

from concertina.load.data import TensorData
from concertina.types import Core


@dataclass(frozen=True)
class Subject:
    """A network with its data."""

    name: str
    core: Core
    train: TensorData
    held: TensorData
    """What decisions rest on."""
