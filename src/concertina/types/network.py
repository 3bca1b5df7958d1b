"""What is known of a network: the core as loaded, its groups and blocks, and how important they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no text of a family may hold: control characters other than tabs and line ends, lone surrogates."""
IS_OUTPUT = "it is the network's output"
"""Why the group that makes the network's outputs is kept whole."""
Role = Literal["out", "in", "norm", "depthwise", "tied", "gate"]
"""How a tensor side takes part in a group."""
Batches = Iterable[Sequence["Tensor"]]
"""Data as batches, each a tuple of tensors of shape (batch, ...)."""


@dataclass(frozen=True)
class Preprocess:
    """How raw images become a network's input, as data: `(raw * scale - mean) / std`."""

    scale: float = 1.0
    """Rewrite on raw values (1/255 for uint8 images); 1.0 leaves them."""
    mean: tuple[float, ...] = ()
    """Mean per channel, taken off after scaling; empty for none."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel; empty for none."""


@dataclass(frozen=True)
class Rewrite:
    """In which other form a layer stands."""

    way: str
    """Name of the form: "linear", "channel" or "spatial" (two layers of lower rank), "attention" ..."""
    rank: int = 1
    """Width between two layers; the largest, where there are several pairs."""
    groups: tuple[tuple[int, int], ...] = ()
    """(words, rank) of each group of an embedding table."""


@dataclass(frozen=True, eq=False)
class Core:
    """The pre-trained network as loaded, never changed afterwards."""

    module: nn.Module
    """The network, in eval mode."""
    example_inputs: tuple[Tensor, ...]
    """Inputs that `module(*example_inputs)` accepts; the first dim is the batch, of 2 or more."""
    source: str
    """Where the architecture comes from: "zoo:digits-cnn" or "module:MyNet"."""
    fingerprint: str
    """SHA-256 over names, dtypes, shapes and bytes of all tensors."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that rebuild a registered architecture, JSON values only."""
    licence: str = ""
    """Licence of the weights, as their source states it."""
    task: str = "classification"
    """Name of the task the network was trained for."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the outputs, where the task has classes."""
    all_classes: tuple[str, ...] = ()
    """Class names of the whole network, where some were chosen of them; the labels of data may go by these."""
    preprocess: Preprocess = Preprocess()
    """What the network's inputs went through in training."""
    augment: str = "none"
    """Name of the augmentation that suits its inputs."""
    rewritten: Mapping[str, Rewrite] = field(default_factory=dict)
    """Path of a layer -> the form it was put in; the fingerprint is that of the network before."""
    teacher: nn.Module | None = None
    """The network before layers were rewritten, which teaches and is measured as the core."""

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.module.parameters())
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"Core({self.source}, {size:,} parameters, {self.task}{classes})"


@dataclass(frozen=True)
class Member:
    """One side of one tensor, or a run of positions on it, that a dim makes larger or smaller.

    Unit `u` owns positions `start + u * positions` up to `start + (u + 1) * positions` along `dim`.
    """

    tensor: str
    """Name of the parameter or buffer, as `named_parameters` gives it (first name of tied ones)."""
    dim: int
    """Which side of the tensor; -1 when the dim is a gate: the tensor is there whole or not at all."""
    role: Role
    """How the tensor takes part: makes the units (out), reads them (in), rescales them (norm) ..."""
    positions: int = 1
    """Positions along `dim` per unit: 1 for a channel, the head size for an attention head."""
    start: int = 0
    """First position that the units own; what lies around them on a side follows other members, or stays."""
    of: int = 0
    """Length of the side where the units own a run of it only; 0 where they own all of it."""


@dataclass(frozen=True)
class SizeAttribute:
    """A declared size on a module (such as `out_channels`) that follows a dim."""

    module: str
    """Path of the module."""
    attribute: str
    """Name of the attribute."""
    positions: int = 1
    """The attribute's value per unit."""
    index: int = -1
    """Index inside a tuple attribute (`normalized_shape`); -1 for a plain number."""


@dataclass(frozen=True)
class Group:
    """Channels, heads or other units of several tensors that can only be dropped together."""

    name: str
    """Path of the module that makes the units."""
    units: int
    """How many units the core has."""
    members: tuple[Member, ...]
    """Every tensor side that belongs to the group."""
    attributes: tuple[SizeAttribute, ...] = ()
    """Declared sizes that follow the width."""
    rigid: str = ""
    """Why the group is kept whole; empty when it is elastic."""

    @property
    def elastic(self) -> bool:
        """Whether the group passed every step of verification."""
        return not self.rigid


@dataclass(frozen=True)
class Block:
    """A residual block: without it the network still runs, on the block's own input."""

    path: str
    """Path of the module."""
    tensors: tuple[str, ...]
    """Names of the tensors that only this block uses."""
    rigid: str = ""
    """Why the block cannot be skipped; empty when it can."""
    returns: int = 0
    """How many things it gives back as a tuple, of which all but the first are nothing; 0: a tensor by itself."""

    @property
    def elastic(self) -> bool:
        """Whether the block can be skipped."""
        return not self.rigid


@dataclass(frozen=True)
class Graph:
    """What `analyse` found in a network: its verified groups and blocks."""

    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    unreached: tuple[str, ...] = ()
    """Modules with parameters that the example inputs never reach."""
    factored: tuple[str, ...] = ()
    """Paths of layers written as two; the group of the width between is named after the first of them."""
    outputs: tuple[int, ...] = ()
    """Sizes that the network's output may be cut to; none: it stays whole."""

    def __repr__(self) -> str:
        groups = f"{len(self.elastic_groups)} of {len(self.groups)} groups"
        return f"Graph({groups} and {len(self.elastic_blocks)} of {len(self.blocks)} blocks are elastic)"

    @cached_property
    def elastic_groups(self) -> tuple[Group, ...]:
        """The groups that passed verification."""
        return tuple(group for group in self.groups if group.elastic)

    @cached_property
    def output_group(self) -> Group | None:
        """The units that are the network's outputs, where one layer makes them and nothing inside reads them."""
        made = [group for group in self.groups if group.rigid == IS_OUTPUT]
        return made[0] if len(made) == 1 and all(member.role == "out" for member in made[0].members) else None

    @cached_property
    def elastic_blocks(self) -> tuple[Block, ...]:
        """The blocks that can be skipped."""
        return tuple(block for block in self.blocks if block.elastic)


@dataclass(frozen=True, eq=False)
class Scores:
    """Importance of every unit of every elastic group, by one criterion."""

    criterion: str
    units: Mapping[str, Tensor]
    """Group name -> (units,) float tensor; larger is more important."""
    blocks: Mapping[str, float]
    """Block path -> rise of the loss when the block is skipped; empty without data."""
    is_loss: bool
    """Whether unit scores estimate a rise of the loss, so that groups compare with each other."""
    data_fingerprint: str = ""
    """Fingerprint of the calibration data; empty when none was used."""

    def __repr__(self) -> str:
        return f"Scores({self.criterion}, {len(self.units)} groups, {len(self.blocks)} blocks)"


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Importance of every unit for every class, by one criterion."""

    criterion: str
    class_names: tuple[str, ...]
    """Class names in the order of the rows."""
    units: Mapping[str, Tensor]
    """Group name -> (classes, units) float tensor, 0 or more; larger is more important.

    Of a family, units stand in the family's own order: the first so many are those that a narrower subnet keeps.
    """
    blocks: Mapping[str, Tensor]
    """Block path -> (classes,) rise of a class's loss when the block is skipped."""
    is_loss: bool
    """Whether unit scores estimate a rise of the loss; otherwise each row sums to 1."""
    samples: int
    """Most samples of one class that they rest on."""
    data_fingerprint: str = ""
    """Fingerprint of the data that the samples were drawn from."""

    def of(self, classes: Sequence[str]) -> Scores:
        """Return the scores for some classes together: the mean over them.

        Raises:
            ValueError: There is no such class.
        """
        rows = [self.class_names.index(name) for name in classes]
        units = {name: values[rows].mean(0) for name, values in self.units.items()}
        blocks = {path: float(values[rows].mean()) for path, values in self.blocks.items()}
        return Scores(self.criterion, units, blocks, self.is_loss, self.data_fingerprint)

    def __repr__(self) -> str:
        return f"ClassScores({self.criterion}, {len(self.class_names)} classes, {len(self.units)} groups)"
