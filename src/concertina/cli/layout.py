"""Tables that fit a terminal: numbers stay whole, texts wrap, and columns that find no room follow in a table below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2
"""Blanks between two columns."""
NARROW = 12
"""Width down to which a column of texts may wrap, whatever its longest word."""


@dataclass(frozen=True)
class Sheet:
    """A table before its width is known."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]
    """Places of the columns that hold numbers: they stand to the right and are never broken."""

    def pieces(self, width: int) -> Iterator[Table]:
        """Yield one table, or several one below the other where all columns do not fit side by side.

        Each of several begins with the first column again.

        Args:
            width: Cells of a line of the terminal.
        """
        every = range(len(self.titles))
        if _across([self._widest(place) for place in every]) <= width:
            yield self._table(every, self.titles)
            return
        titles = [self._folded(place) for place in every]
        least = [self._least(place, titles[place], width) for place in every]
        for places in _runs(least, width):
            yield self._table(places, titles, least)

    def _table(self, places: Sequence[int], titles: Sequence[str], least: Sequence[int] = ()) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for place in places:
            numeric = place in self.numeric
            table.add_column(
                Text(titles[place]),
                justify="right" if numeric else "left",
                no_wrap=numeric,
                overflow="fold",
                min_width=least[place] if least else None,
            )
        for row in self.rows:
            table.add_row(*(Text(row[place]) for place in places))
        return table

    def _cells(self, place: int) -> list[str]:
        return [row[place] for row in self.rows]

    def _widest(self, place: int) -> int:
        return max(cell_len(cell) for cell in (self.titles[place], *self._cells(place)))

    def _folded(self, place: int) -> str:
        """Return the title of a column of numbers over several lines, no wider than it must be."""
        title = self.titles[place]
        if place not in self.numeric:
            return title
        room = max(cell_len(cell) for cell in (*title.split(), *self._cells(place), "-"))
        return "\n".join(textwrap.wrap(title, room)) or title

    def _least(self, place: int, title: str, width: int) -> int:
        """Return how narrow a column may become: numbers not at all, texts down to a third of the line."""
        lines = max(cell_len(line) for line in title.split("\n"))
        if place in self.numeric:
            return max([lines, *map(cell_len, self._cells(place))])
        words = [cell_len(word) for cell in self._cells(place) for word in cell.split()]
        return max(lines, min(max(words, default=1), max(NARROW, width // 3)))


def _runs(least: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield places of columns that fit side by side; the first column is in each."""
    run = [0]
    for place in range(1, len(least)):
        if len(run) > 1 and _across([least[i] for i in (*run, place)]) > width:
            yield run
            run = [0]
        run.append(place)
    yield run


def _across(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
