"""Copies of the subnets that are asked for most, within a limit of bytes.

Views of one storage save memory, not time: a narrow view's rows lie far apart. A copy lies together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from torch import nn

from concertina.nest import materialize

FORGET_AFTER = 1024
"""After so many uses all counts are halved, so that what was hot long ago cools down."""
LOYALTY = 2
"""A copy that is held gives way to a subnet used this many times as often."""


class Copies:
    """Holds copies of the hottest subnets.

    Args:
        byte_limit: Most bytes of all copies together.
        sizes: Subnet -> bytes of a copy, for those that gain by one.
    """

    def __init__(self, byte_limit: int, sizes: Mapping[str, int]) -> None:
        self._limit, self._sizes = byte_limit, sizes
        self._uses: Counter[str] = Counter()
        self._since = 0
        self._held: dict[str, nn.Module] = {}

    @property
    def held(self) -> dict[str, int]:
        """Subnets of which there is a copy -> its bytes."""
        return {name: self._sizes[name] for name in self._held}

    def get(self, name: str) -> nn.Module | None:
        """Return the copy of a subnet, if there is one; either way this counts as a use."""
        self._uses[name] += 1
        self._since += 1
        if self._since >= FORGET_AFTER:
            self._since = 0
            self._uses = Counter({known: count // 2 for known, count in self._uses.items() if count > 1})
        return self._held.get(name)

    def refresh(self, view: Callable[[str], nn.Module]) -> str:
        """Let go of copies that are no longer hot, make at most one new copy, and return its name; "" for none.

        Args:
            view: Gives the view of a subnet.
        """
        wanted = self._wanted()
        if set(self._held) == set(wanted):
            return ""
        for name in set(self._held) - set(wanted):
            del self._held[name]
        missing = next((name for name in wanted if name not in self._held), "")
        if missing:
            self._held[missing] = materialize(view(missing)).requires_grad_(False)
        return missing

    def clear(self) -> None:
        """Let go of all copies."""
        self._held.clear()

    def _wanted(self) -> list[str]:
        """Return the subnets to hold copies of, the hottest first; among equals those that are, then the larger."""
        left, found = self._limit, []
        heat = {name: self._uses[name] * (LOYALTY if name in self._held else 1) for name in self._sizes}
        for name in sorted(heat, key=lambda name: (-heat[name], name not in self._held, -self._sizes[name], name)):
            if self._sizes[name] <= left:
                left -= self._sizes[name]
                found.append(name)
        return found


def gains_by_a_copy(view: nn.Module) -> bool:
    """Return whether a copy would lie closer together than the view does.

    Example:
        >>> gains_by_a_copy(nn.Linear(2, 2))
        False
    """
    return any(not tensor.is_contiguous() for tensor in (*view.parameters(), *view.buffers()))
