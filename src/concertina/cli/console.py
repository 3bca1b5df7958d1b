"""Where words go: results to stdout, progress and remarks to stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from concertina.cli.launch import is_first
from concertina.cli.layout import Sheet
from concertina.cli.options import Common

Report = Callable[[str, float], None]
"""Takes what is being done now and the share of the whole that is done, 0 to 1."""

PLAIN_EVERY_S = 5.0
PIPE_WIDTH = 10_000
_NUMBER = re.compile(r"(([+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?%?|nan|-?inf)( to |$)){1,2}|-")


class Console:
    """Says things the way the common options ask for; the package's log goes to stderr too.

    Args:
        options: The verb's options; `as_json` and `quiet` are read.
    """

    def __init__(self, options: Common) -> None:
        self._as_json, self._quiet = options.as_json, options.quiet or not is_first()
        self._stderr = _Stderr(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
        log = logging.getLogger("concertina")
        log.handlers = [_ToRemark(self.remark)]
        log.setLevel(logging.INFO)
        log.propagate = False

    def result(self, data: object, *parts: Sheet | str) -> None:
        """Print the verb's result: `data` as JSON when asked for, else the tables and lines one after the other."""
        if self._as_json:
            sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            return
        for part in parts:
            sys.stdout.write(f"{part}\n" if isinstance(part, str) else "".join(_lines(part)))

    def remark(self, line: str) -> None:
        """Say something on stderr that is no part of the result; nobody listening is no reason to stop."""
        if not self._quiet:
            with suppress(OSError):
                self._stderr.print(line)

    @contextmanager
    def progress(self, first: str = "") -> Iterator[Report]:
        """Show how far each stage is, with the time left: a bar on a terminal, a line now and then elsewhere.

        Args:
            first: What is being done before the first report; nothing when left out.
        """
        with ExitStack() as stack:
            report: Report = _silence
            if self._stderr.is_terminal and not self._quiet:
                report = _Stages(stack.enter_context(_bar(self._stderr))).report
            elif not self._quiet:
                report = _PlainLines(self.remark).report
            if first:
                report(first, 0.0)
            yield report


class _Stderr(Terminal):
    """Stderr; when its reader leaves, the work goes on in silence."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True


class _ToRemark(logging.Handler):
    """Passes log records on as remarks."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        super().__init__()
        self._remark = remark

    def emit(self, record: logging.LogRecord) -> None:
        """Say the record's text."""
        self._remark(self.format(record))


def _silence(_stage: str, _done: float) -> None:
    """Report nothing."""


def _bar(terminal: Terminal) -> Progress:
    said = TextColumn("{task.description}", markup=False)
    share = TextColumn("{task.percentage:>3.0f}%")
    return Progress(
        said, BarColumn(), share, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=terminal
    )


class _Stages:
    """One bar a stage, so that the time left is that of the stage."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._stage, self._task = bar, "", TaskID(-1)

    def report(self, stage: str, done: float) -> None:
        """Move the bar of `stage`; a new stage ends the one before, and one that is done at once is a remark."""
        if stage != self._stage and done >= 1:
            self._bar.console.print(stage)
            return
        if stage != self._stage:
            if self._task >= 0:
                self._bar.update(self._task, completed=1.0)
            self._task, self._stage = self._bar.add_task(stage, total=1.0), stage
        self._bar.update(self._task, completed=done)


class _PlainLines:
    """A line when a stage begins, and another now and then with the time left."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._stage = say, ""
        self._begun = self._said = self._first = 0.0

    def report(self, stage: str, done: float) -> None:
        """Say where `stage` is, unless that was said a moment ago; one that is done at once is a remark."""
        now = time.monotonic()
        if stage != self._stage and done >= 1:
            self._say(stage)
            return
        if stage != self._stage:
            self._stage, self._begun, self._first = stage, now, done
        elif now - self._said < PLAIN_EVERY_S:
            return
        self._said = now
        gone = done - self._first
        left = f", about {(now - self._begun) * (1 - done) / gone:.0f} s left" if gone > 0 else ""
        self._say(f"{stage}: {100 * done:.0f}%{left}")


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Sheet:
    """Return a plain table; numbers stand to the right, missing values are a dash."""
    rows = [list(row) for row in rows]
    cells = tuple(tuple(shown(cell) for cell in row) for row in rows)
    columns = ([(row[place], shown(row[place])) for row in rows] for place in range(len(titles)))
    numeric = (place for place, column in enumerate(columns) if column and all(_is_number(*cell) for cell in column))
    return Sheet(tuple(title.replace("_", " ") for title in titles), cells, frozenset(numeric))


def _is_number(value: object, written: str) -> bool:
    """Return whether a value is a number or none, or reads as one or two: "51.1%", "1,024", "45.9 to 56.2"."""
    kinds = (int, float, str, type(None))
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(_NUMBER.fullmatch(written))


def shown(value: object) -> str:
    """Return a value as people read it; what a terminal would take for a command is replaced.

    Example:
        >>> shown(1234567), shown(52463.0), shown(0.25), shown(None), shown((0.1, 1.0)), shown(True)
        ('1,234,567', '52,463', '0.25', '-', '0.1, 1', 'yes')
    """
    if value is None or value in ("", "\N{EN DASH}"):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value) or "-"
    return "".join(char if char.isprintable() else "\ufffd" for char in str(value))


def records_table(records: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return a table of records, a line each; a share of the MACs is in percent, and what a record lacks is a dash."""
    titles = list(dict.fromkeys(title for record in records for title in record))
    percent = [
        dict(record) | ({"share": f"{record['share']:.1%}"} if record.get("share") else {}) for record in records
    ]
    return table(titles, [[record.get(title) for title in titles] for record in percent])


def describe(data: Mapping[str, Any]) -> list[Sheet | str]:
    """Return plain data as tables: one of the single values, then one for each list of records."""
    return [table(("what", "value"), [(k, v) for k, v in data.items() if not _records(v)]), *listed(data)]


def listed(data: Mapping[str, Any]) -> list[Sheet | str]:
    """Return the lists of records in plain data as tables, each with its name above it."""
    parts: list[Sheet | str] = []
    for name, records in data.items():
        if _records(records):
            parts += ["", name, records_table(records)]
    return parts


def _records(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _lines(sheet: Sheet) -> Iterator[str]:
    """Yield the printed lines of a table: as wide as it likes in a pipe, within the width of a terminal."""
    on_terminal = sys.stdout.isatty()
    terminal = Terminal(width=None if on_terminal else PIPE_WIDTH, markup=False, highlight=False, emoji=False)
    for place, piece in enumerate(sheet.pieces(terminal.width)):
        if place:
            yield "\n"
        with terminal.capture() as captured:
            terminal.print(piece, crop=False, no_wrap=True, width=max(terminal.width, terminal.measure(piece).minimum))
        yield "".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1])
