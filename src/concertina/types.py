"""The nouns: plain values that flow through the house, from `load` down to `cli`.

Nothing here imports torch at run time, so that the file format can be read without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from concertina.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

Role = Literal["out", "in", "norm", "depthwise", "tied", "gate"]
"""How a tensor side takes part in a group."""
Batches = Iterable[Sequence["Tensor"]]
"""Data as batches, each a tuple of tensors of shape (batch, ...)."""


@dataclass(frozen=True)
class Preprocess:
    """How raw images become a network's input, as data: `(raw * scale - mean) / std`."""

    scale: float = 1.0
    """Factor on raw values (1/255 for uint8 images); 1.0 leaves them."""
    mean: tuple[float, ...] = ()
    """Mean per channel, taken off after scaling; empty for none."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel; empty for none."""


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
    preprocess: Preprocess = Preprocess()
    """What the network's inputs went through in training."""
    augment: str = "none"
    """Name of the augmentation that suits its inputs."""


@dataclass(frozen=True)
class Member:
    """One side of one tensor that a dim makes larger or smaller.

    Unit `u` owns positions `u * positions` up to `(u + 1) * positions` along `dim`.
    """

    tensor: str
    """Name of the parameter or buffer, as `named_parameters` gives it (first name of tied ones)."""
    dim: int
    """Which side of the tensor; -1 when the dim is a gate: the tensor is there whole or not at all."""
    role: Role
    """How the tensor takes part: makes the units (out), reads them (in), rescales them (norm) ..."""
    positions: int = 1
    """Positions along `dim` per unit: 1 for a channel, the head size for an attention head."""


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

    @cached_property
    def elastic_groups(self) -> tuple[Group, ...]:
        """The groups that passed verification."""
        return tuple(group for group in self.groups if group.elastic)

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


@dataclass(frozen=True)
class SubnetSpec:
    """A subnet as plain data: dim name -> choice. Immutable, hashable, with a canonical text.

    Example:
        >>> spec = SubnetSpec.of({"width:conv1": 8, "depth:layer1.0": 1})
        >>> spec.text
        'depth:layer1.0=1;width:conv1=8'
        >>> SubnetSpec.parse(spec.text) == spec, spec["width:conv1"]
        (True, 8)
    """

    choices: tuple[tuple[str, int], ...]
    """(dim name, choice) pairs sorted by name."""

    @staticmethod
    def of(choices: Mapping[str, int]) -> SubnetSpec:
        """Return the spec that holds `choices`."""
        return SubnetSpec(tuple(sorted((name, int(choice)) for name, choice in choices.items())))

    @staticmethod
    def parse(text: str) -> SubnetSpec:
        """Return the spec whose canonical text is `text`.

        Raises:
            SpecError: The text is not `name=number` pairs joined by semicolons, or doubles a name.
        """
        choices: dict[str, int] = {}
        for part in filter(None, text.split(";")):
            name, equals, number = part.rpartition("=")
            if not equals or not number.isdecimal() or not number.isascii() or len(number) > 9:
                raise SpecError("subnet spec", asked=repr(part), allowed="'dim=number' pairs joined by ';'")
            if unquote(name) in choices:
                raise SpecError("subnet spec", asked=f"{unquote(name)!r} twice", allowed="each dim once")
            choices[unquote(name)] = int(number)
        return SubnetSpec.of(choices)

    @cached_property
    def text(self) -> str:
        """The canonical text id."""
        return ";".join(f"{quote(name, safe=':._-/')}={choice}" for name, choice in self.choices)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for the spec in file names and tables."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @cached_property
    def _table(self) -> dict[str, int]:
        return dict(self.choices)

    def __getitem__(self, name: str) -> int:
        return self._table[name]

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def with_choice(self, name: str, choice: int) -> SubnetSpec:
        """Return this spec with one dim changed."""
        return SubnetSpec.of({**self._table, name: choice})


@dataclass(frozen=True)
class Dim:
    """One elastic dimension: ordered choices, and every tensor side that follows them."""

    name: str
    """Axis and target: "width:layer1.0.conv1", "depth:layer1.0"."""
    axis: str
    """Name of the axis the dim belongs to."""
    target: str
    """Group name or block path."""
    choices: tuple[int, ...]
    """Allowed values, rising; the first is the floor, the last the original."""
    members: tuple[Member, ...]
    """Tensor sides that follow the dim."""
    attributes: tuple[SizeAttribute, ...] = ()
    """Declared sizes that follow the dim."""
    needs: tuple[str, ...] = ()
    """Names of gate dims (blocks) without which this dim has nothing to act on."""

    @property
    def original(self) -> int:
        """The choice that the core has."""
        return self.choices[-1]

    @property
    def is_gate(self) -> bool:
        """Whether the dim switches its tensors on and off rather than sizing them."""
        return bool(self.members) and self.members[0].dim == -1


@dataclass(frozen=True)
class Space:
    """All dims of a family: which subnets there are."""

    dims: tuple[Dim, ...]

    @cached_property
    def by_name(self) -> dict[str, Dim]:
        """Dims by their names."""
        return {dim.name: dim for dim in self.dims}

    @cached_property
    def smallest(self) -> SubnetSpec:
        """The spec with every dim at its floor."""
        return SubnetSpec.of({dim.name: dim.choices[0] for dim in self.dims})

    @cached_property
    def full(self) -> SubnetSpec:
        """The spec with every dim at its original value."""
        return SubnetSpec.of({dim.name: dim.original for dim in self.dims})

    def check(self, spec: SubnetSpec) -> SubnetSpec:
        """Return the canonical form of `spec`: dims inside a skipped block stand at their floor.

        Raises:
            SpecError: A dim is unknown, missing, or has a choice that it does not offer.
        """
        for name, choice in spec.choices:
            dim = self.by_name.get(name)
            if dim is None:
                raise SpecError(f"subnet spec names an unknown dim {name!r}", allowed=_some(self.by_name))
            if choice not in dim.choices:
                raise SpecError(f"dim {name!r}", asked=str(choice), allowed=_some(dim.choices))
        missing = [name for name in self.by_name if name not in spec]
        if missing:
            raise SpecError("subnet spec leaves out dims", asked=_some(missing), do="Give every dim a choice.")
        void = {d.name: d.choices[0] for d in self.dims if any(spec[need] == 0 for need in d.needs)}
        return SubnetSpec.of({**dict(spec.choices), **void})

    def covers(self, larger: SubnetSpec, smaller: SubnetSpec) -> bool:
        """Return whether every choice of `larger` is at least that of `smaller`."""
        return all(larger[name] >= choice for name, choice in smaller.choices)


@dataclass(frozen=True)
class GrowthOrder:
    """The smallest network of a space plus an ordered list of growth steps; every prefix is a network."""

    space: Space
    steps: tuple[int, ...]
    """Index into `space.dims` of the dim that grows by one choice, step by step."""

    def __post_init__(self) -> None:
        """Refuse a sequence that leaves the space, is incomplete, or grows inside a skipped block."""
        level = [0] * len(self.space.dims)
        index = {dim.name: i for i, dim in enumerate(self.space.dims)}
        for step in self.steps:
            if not 0 <= step < len(level) or level[step] + 1 >= len(self.space.dims[step].choices):
                raise SpecError("growth order", asked=f"step {step} beyond the last choice of its dim")
            needed = [index[need] for need in self.space.dims[step].needs]
            if any(level[i] == 0 and len(self.space.dims[i].choices) > 1 for i in needed):
                raise SpecError("growth order", asked=f"{self.space.dims[step].name!r} before its block")
            level[step] += 1
        if any(at + 1 != len(dim.choices) for at, dim in zip(level, self.space.dims, strict=True)):
            raise SpecError("growth order", asked="a sequence that ends before the full network")

    def __len__(self) -> int:
        return len(self.steps)

    def spec(self, position: int) -> SubnetSpec:
        """Return the spec after the first `position` steps.

        Raises:
            SpecError: The position is outside 0..len(self).
        """
        if not 0 <= position <= len(self.steps):
            raise SpecError("growth order position", asked=str(position), allowed=f"0 to {len(self.steps)}")
        level = [0] * len(self.space.dims)
        for step in self.steps[:position]:
            level[step] += 1
        return SubnetSpec.of({d.name: d.choices[at] for d, at in zip(self.space.dims, level, strict=True)})


@dataclass(frozen=True)
class Point:
    """An operating point: a spec that was trained or calibrated and can be served as it is."""

    name: str
    """Name users type: "p50" for half of the core's MACs."""
    spec: SubnetSpec
    position: int
    """Position in the growth order; -1 for an extra whose spec is not a prefix of it."""
    macs: int
    """Multiply-accumulates for one input."""
    params: int
    size_bytes: int
    """Bytes of all its tensors, private ones included."""
    share: float
    """Its MACs as a share of the core's."""
    metrics: tuple[tuple[str, float], ...] = ()
    """Headline figures (metric name, value), each also a Record."""

    def with_metrics(self, metrics: Mapping[str, float]) -> Point:
        """Return this point with headline figures."""
        return replace(self, metrics=tuple(sorted(metrics.items())))


@dataclass(frozen=True)
class Record:
    """One measured figure, with all that is needed to measure it again."""

    spec: str
    """Canonical text of the subnet; "core" for the core itself."""
    metric: str
    """What was measured: "accuracy", "latency_ms_p95" ..."""
    value: float
    unit: str
    """Unit of the value: "share", "ms", "MACs", "bytes" ..."""
    n: int = 1
    """How many samples or runs it rests on."""
    low: float | None = None
    """Lower end of the 95% interval (or spread), where there is one."""
    high: float | None = None
    """Upper end."""
    seed: int | None = None
    scope: str = ""
    """What part it speaks of: a class name, "batch=1 threads=2", or empty for the whole."""
    machine: str = ""
    """Fingerprint of the machine, for figures that depend on it."""
    versions: str = ""
    """Versions of concertina and torch."""
    data: str = ""
    """Fingerprint of the data."""


def _some(items: Iterable[object], limit: int = 8) -> str:
    """Return up to `limit` items as text, with a count of the rest."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
