"""Which subnets there are: specs, the dims they choose from, and the one order in which they grow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, unquote

from concertina.errors import SpecError, some
from concertina.types.network import Member, SizeAttribute


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
    returns: int = 0
    """Of a gate: how many things its block gives back as a tuple, see `Block`; 0: a tensor by itself."""

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

    def __repr__(self) -> str:
        axes = Counter(dim.axis for dim in self.dims)
        return f"Space({', '.join(f'{count} {axis}' for axis, count in sorted(axes.items()))})"

    @cached_property
    def by_name(self) -> dict[str, Dim]:
        """Dims by their names."""
        return {dim.name: dim for dim in self.dims}

    @cached_property
    def in_runs(self) -> frozenset[str]:
        """Names of the tensors of which a subnet keeps several runs of positions, gathered into a copy."""
        return frozenset(member.tensor for dim in self.dims for member in dim.members if member.of)

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
                raise SpecError(f"subnet spec names an unknown dim {name!r}", allowed=some(self.by_name))
            if choice not in dim.choices:
                raise SpecError(f"dim {name!r}", asked=str(choice), allowed=some(dim.choices))
        missing = [name for name in self.by_name if name not in spec]
        if missing:
            raise SpecError("subnet spec leaves out dims", asked=some(missing), do="Give every dim a choice.")
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

    def __repr__(self) -> str:
        return f"GrowthOrder({len(self.steps)} steps, {len(self.space.dims)} dims)"

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
