"""Dims as lists of numbers: `[axis, target, choices, members, attributes, needs, name, returns]`.

A run of members is `[first tensor, side, role, positions, count, start, length]`, a size is
`[module, attribute, positions, index]`, where a module is given by the index of its first tensor. Trailing defaults are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from concertina.save import strict
from concertina.save.compact import Budget, pad, pick, trim
from concertina.save.manifest import MAX_WORK, ROLES
from concertina.save.tensors import TensorInfo
from concertina.types import Dim, Member, Role, SizeAttribute

MAX_RETURNS = 64
"""Most things that a block may give back."""


_Run = tuple[int, int, int, Role, Any, Any, Any]
"""First tensor and number of tensors, then a member's side, role, positions, start and length."""


def owner(tensor: str) -> str:
    """Return the path of the module that holds the tensor."""
    return tensor.rpartition(".")[0]


class DimWriter:
    """Writes dims.

    Args:
        tensors: Names of all tensors.
        dims: All dims.
    """

    def __init__(self, tensors: Sequence[str], dims: Sequence[Dim]) -> None:
        self.axes = list(dict.fromkeys(dim.axis for dim in dims))
        self.attributes = list(dict.fromkeys(size.attribute for dim in dims for size in dim.attributes))
        self._dims = {dim.name: i for i, dim in enumerate(dims)}
        self._tensors = {name: i for i, name in enumerate(tensors)}
        self._owners: dict[str, int] = {}
        for i, name in enumerate(tensors):
            self._owners.setdefault(owner(name), i)

    def write(self, dim: Dim) -> list[Any]:
        """Return one dim as a list."""
        sizes = [self._size(size) for size in dim.attributes]
        needs = [self._dims[need] for need in dim.needs]
        name = "" if dim.name == f"{dim.axis}:{dim.target}" else dim.name
        entry = [
            self.axes.index(dim.axis),
            dim.target,
            dim.choices,
            self._members(dim),
            sizes,
            needs,
            name,
            dim.returns,
        ]
        return trim(entry, [], [], "", 0)

    def _size(self, size: SizeAttribute) -> list[Any]:
        module = self._owners.get(size.module, size.module)
        return trim([module, self.attributes.index(size.attribute), size.positions, size.index], 1, -1)

    def _members(self, dim: Dim) -> list[list[int]]:
        runs: list[list[int]] = []
        for member in dim.members:
            tensor, rest = self._tensors[member.tensor], [member.dim, ROLES.index(member.role), member.positions]
            place = [member.start, member.of]
            if runs and (*runs[-1][1:4], *runs[-1][5:]) == (*rest, *place) and runs[-1][0] + runs[-1][4] == tensor:
                runs[-1][4] += 1
            else:
                runs.append([tensor, *rest, 1, *place])
        return [trim(run, 1, 1, 0, 0) for run in runs]


class DimReader:
    """Reads dims; how many members there are in all is bounded before any run is spread out.

    Args:
        raw: The manifest as parsed.
        tensors: All tensors.
    """

    def __init__(self, raw: Mapping[str, Any], tensors: tuple[TensorInfo, ...]) -> None:
        self._tensors, self._budget = tensors, Budget(MAX_WORK, "members")
        self._axes = strict.listing(raw["axes"], "manifest axes")
        self._attributes = strict.listing(raw["attributes"], "manifest attributes")
        entries = strict.listing(raw["dims"], "manifest dims", 0, MAX_WORK)
        self._rows = [pad(entry, f"manifest dims[{i}]", 4, [], [], "", 0) for i, entry in enumerate(entries)]
        self._names: list[str] = []

    def read(self) -> tuple[Dim, ...]:
        """Return the dims; raises `HeaderError`."""
        for i, row in enumerate(self._rows):
            axis = pick(self._axes, row[0], f"manifest dims[{i}] axis")
            self._names.append(strict.name(row[6] or f"{axis}:{row[1]}", f"manifest dims[{i}] name"))
            row[3] = self._runs(row[3], f"dim {self._names[i]!r} members")
        return tuple(self._dim(row, name) for row, name in zip(self._rows, self._names, strict=True))

    def _dim(self, row: list[Any], name: str) -> Dim:
        axis, target, choices, members, attributes, needs, _, returns = row
        at = f"dim {name!r}"
        return Dim(
            name=name,
            axis=pick(self._axes, axis, f"{at} axis"),
            target=strict.name(target, f"{at} target"),
            choices=strict.integers(choices, f"{at} choices"),
            members=tuple(self._members(members)),
            attributes=tuple(self._size(item, f"{at} attributes") for item in strict.listing(attributes, at)),
            needs=tuple(pick(self._names, need, f"{at} needs") for need in strict.listing(needs, f"{at} needs")),
            returns=strict.integer(returns, f"{at} returns", 0, MAX_RETURNS),
        )

    def _size(self, item: object, where: str) -> SizeAttribute:
        module, attribute, positions, index = pad(item, where, 2, 1, -1)
        if not isinstance(module, str):
            module = owner(strict.name(pick(self._tensors, module, f"{where} module").name, f"{where} module"))
        return SizeAttribute(module, pick(self._attributes, attribute, where), positions, index)

    def _runs(self, runs: object, where: str) -> list[_Run]:
        """Return checked runs; how many members all dims have in all is bounded here, before any is made."""
        found = []
        for run in strict.listing(runs, where):
            first, side, role, positions, count, start, of = pad(run, where, 3, 1, 1, 0, 0)
            strict.integer(first, f"{where} tensor", 0, len(self._tensors) - 1)
            self._budget.take(strict.integer(count, f"{where} count", 1, len(self._tensors) - first), where)
            rest = (strict.integer(side, where, -1), pick(ROLES, role, f"{where} role"), positions, start, of)
            found.append((first, count, *rest))
        return found

    def _members(self, runs: list[_Run]) -> Iterator[Member]:
        for first, count, *rest in runs:
            for tensor in self._tensors[first : first + count]:
                yield Member(tensor.name, *rest)
