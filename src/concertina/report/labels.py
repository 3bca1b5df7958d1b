"""Where to write labels so that they cover neither points nor each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LINE_HEIGHT = 11.0
CHARACTER_WIDTH = 6.6


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @staticmethod
    def around(x: float, y: float, reach: float) -> Box:
        """Return the square that reaches `reach` pixels from its centre."""
        return Box(x - reach, y - reach, x + reach, y + reach)

    def meets(self, other: Box) -> bool:
        """Return whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Return whether `other` lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Label:
    """One text and where it is written."""

    text: str
    x: float
    y: float
    """Base line."""
    anchor: Literal["start", "middle", "end"]


def place_labels(
    named: Sequence[tuple[str, float, float]], taken: Sequence[Box], lines: Sequence[Box], frame: Box
) -> list[Label]:
    """Return a label for each (text, x, y) that has room above, below or beside its point; others are left out.

    Args:
        named: Text and pixel of each point.
        taken: Where nothing may be written.
        lines: Where nothing should be written, if there is another place.
        frame: Outside of which nothing may be written.
    """
    used = list(taken)
    labels = []
    for text, x, y in named:
        free = [
            (label, box)
            for label, box in _offers(text, x, y)
            if frame.holds(box) and not any(box.meets(other) for other in used)
        ]
        clear = [offer for offer in free if not any(offer[1].meets(other) for other in lines)]
        for label, box in (clear or free)[:1]:
            labels.append(label)
            used.append(box)
    return labels


def along(spots: Sequence[tuple[float, float]], step: float = 5.0) -> list[Box]:
    """Return small boxes that cover the line through `spots`, one every `step` pixels."""
    boxes = []
    for (x, y), (right, low) in pairwise(spots):
        parts = max(1, math.ceil(math.hypot(right - x, low - y) / step))
        for place in range(parts + 1):
            share = place / parts
            boxes.append(Box.around(x + share * (right - x), y + share * (low - y), 1))
    return boxes


def _offers(text: str, x: float, y: float) -> list[tuple[Label, Box]]:
    wide = CHARACTER_WIDTH * len(text)
    above, below, level = y - 9, y + 18, y + 4
    offers = []
    for label in (
        Label(text, x, above, "middle"),
        Label(text, x, below, "middle"),
        Label(text, x + 8, level + 10, "start"),
        Label(text, x - 8, level - 10, "end"),
        Label(text, x + 8, level - 10, "start"),
        Label(text, x - 8, level + 10, "end"),
        Label(text, x + 8, level, "start"),
        Label(text, x - 8, level, "end"),
    ):
        left = label.x - {"start": 0.0, "middle": wide / 2, "end": wide}[label.anchor]
        offers.append((label, Box(left, label.y - LINE_HEIGHT + 2, left + wide, label.y + 2)))
    return offers
