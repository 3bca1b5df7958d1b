"""Groups that a user declares for layers nobody has a rule for; they are verified like any other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from concertina.analyse.layers import Wiring
from concertina.errors import AnalysisError, did_you_mean
from concertina.types import Group, Member, Role, SizeAttribute

_PLACE = re.compile(r"(?P<tensor>[^:@\s]+)(:(?P<side>\d{1,2}))?(@(?P<start>\d{1,9}))?")
_SIZE = re.compile(r"(?P<path>.*?)\.?(?P<attribute>[A-Za-z_]\w*)(\[(?P<index>\d{1,2})\])?")


_Place = tuple[Role, str, int, int | None]
"""A role, a tensor, its side, and where the units start on it, if they own a run."""


@dataclass(frozen=True)
class Declared:
    """A group in a user's words; see `group`."""

    name: str
    makes: tuple[str, ...]
    reads: tuple[str, ...]
    scales: tuple[str, ...]
    sizes: tuple[str, ...]
    units: int

    def on(self, module: nn.Module, wiring: Wiring) -> Group:
        """Return the candidate group in a network.

        Args:
            module: The network.
            wiring: What is known of its layers.

        Raises:
            AnalysisError: A tensor, side or size is not there, or its length is no multiple of the units.
        """
        roles: tuple[tuple[Role, Sequence[str]], ...] = (("out", self.makes), ("in", self.reads), ("norm", self.scales))
        places: list[_Place] = [(role, *self._place(text, wiring)) for role, texts in roles for text in texts]
        runs = {(tensor, side) for _, tensor, side, start in places if start is not None}
        units = self.units or next((wiring.size((t, s)) for role, t, s, start in places if start is None), 0)
        if units < 2:
            raise self._wrong("units", f"{units}", "2 or more; give units= where every side is owned in runs")
        members = []
        for role, tensor, side, start in places:
            length = wiring.size((tensor, side))
            own = self._owned(length, units, [p for p in places if p[1:3] == (tensor, side)], start)
            whole = (tensor, side) not in runs
            members.append(Member(tensor, side, role, own // units, start or 0, 0 if whole else length))
        members.sort(key=lambda member: (wiring.index[member.tensor], member.dim, member.start))
        return Group(self.name, units, tuple(members), tuple(self._sizes(module, units, members)))

    def _owned(self, length: int, units: int, sharing: Sequence[_Place], start: int | None) -> int:
        """Return how many positions of a side the units own from `start` on: up to the next run, or the end."""
        later = [place[3] for place in sharing if place[3] is not None and start is not None and place[3] > start]
        room = (min(later, default=length) - start) if start is not None else length
        own = room - room % units if start is not None else room
        if own <= 0 or own % units:
            raise self._wrong(f"{sharing[0][1]}:{sharing[0][2]}", f"{room} positions", f"a multiple of {units} units")
        return own

    def _place(self, text: str, wiring: Wiring) -> tuple[str, int, int | None]:
        found = _PLACE.fullmatch(text)
        if not found:
            raise self._wrong("a tensor's side", repr(text), "TENSOR, TENSOR:SIDE or TENSOR:SIDE@START")
        tensor, side = found["tensor"], int(found["side"] or 0)
        if tensor not in wiring.tensors:
            near = did_you_mean(tensor, wiring.tensors)
            raise self._wrong("a tensor", repr(tensor), "names of parameters and buffers", near)
        shape = tuple(wiring.tensors[tensor].shape)
        if side >= len(shape):
            raise self._wrong(f"side of {tensor!r}, of shape {shape}", str(side), f"0 to {len(shape) - 1}")
        return tensor, side, None if found["start"] is None else int(found["start"])

    def _sizes(self, module: nn.Module, units: int, members: Sequence[Member]) -> Iterator[SizeAttribute]:
        modules = dict(module.named_modules())
        for text in self.sizes:
            found = _SIZE.fullmatch(text)
            path, name, index = (
                (found["path"], found["attribute"], int(found["index"] or -1)) if found else ("", "", -1)
            )
            held = vars(modules[path]).get(name) if path in modules else None
            if index >= 0 and isinstance(held, tuple) and index < len(held):
                held = held[index]
            shared = [m.positions for m in members if m.of == held and m.tensor.rpartition(".")[0] == path]
            if type(held) is not int or held <= 0 or (held % units and not shared):
                raise self._wrong("a declared size", repr(text), f"MODULE.ATTRIBUTE, a whole number of {units} units")
            yield SizeAttribute(path, name, sum(shared) or held // units, index)

    def _wrong(self, what: str, asked: str, allowed: str, do: str = "") -> AnalysisError:
        return AnalysisError(f"group {self.name!r} by hand: {what}", asked=asked, allowed=allowed, do=do)


def check_names(by_hand: Sequence[Group], found: Sequence[Group]) -> None:
    """Refuse names that stand for two groups.

    Args:
        by_hand: Groups declared by hand.
        found: All others.

    Raises:
        AnalysisError: The text gives the name.
    """
    names = [group.name for group in (*by_hand, *found)]
    for declared in by_hand:
        if names.count(declared.name) > 1:
            raise AnalysisError(
                "name of a group by hand", asked=f"{declared.name!r} twice", allowed="a name of its own"
            )


def group(
    name: str,
    *,
    makes: Sequence[str],
    reads: Sequence[str],
    scales: Sequence[str] = (),
    sizes: Sequence[str] = (),
    units: int = 0,
) -> Declared:
    """Declare channels that go together, for a layer that Concertina does not know.

    A tensor's side is written "TENSOR:SIDE", the side being 0 unless said, or "TENSOR:SIDE@START" where the units own a
    run of it from a position on. Nothing is taken on trust: the group is verified like those that are found.

    Args:
        name: What to call it.
        makes: Sides that make the units (rows of a weight, its bias).
        reads: Sides that read them (columns of the next weight).
        scales: Sides that pass them on one by one (norms, running statistics).
        sizes: Numbers that modules keep and that follow the units: "mix.width", "norm.normalized_shape[0]".
        units: How many units there are; the length of the first side unless said.

    Raises:
        AnalysisError: The name is no text, the units are no number, or a text is given where a list is wanted.

    Example:
        >>> group("mix", makes=["mix.kernel:1"], reads=["head.weight:1"]).reads
        ('head.weight:1',)
    """
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise AnalysisError("name of a group by hand", asked=repr(name), allowed="a printable text")
    if not isinstance(units, int) or isinstance(units, bool) or units < 0:
        raise AnalysisError(f"units= of group {name!r}", asked=repr(units), allowed="a whole number, 2 or more")
    for what, given in (("makes", makes), ("reads", reads), ("scales", scales), ("sizes", sizes)):
        if isinstance(given, str) or not all(isinstance(text, str) for text in given):
            raise AnalysisError(f"{what}= of group {name!r}", asked=repr(given), allowed="a list of texts")
    return Declared(name, tuple(makes), tuple(reads), tuple(scales), tuple(sizes), units)
