"""Where words go: results to stdout, progress and remarks to stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from concertina.cli.options import Common

Report = Callable[[str, float], None]
"""Takes what is being done now and the share of the whole that is done, 0 to 1."""

PLAIN_EVERY_S = 5.0
PIPE_WIDTH = 10_000


class Console:
    """Says things the way the common options ask for; the package's log goes to stderr too.

    Args:
        options: The verb's options; `as_json` and `quiet` are read.
    """

    def __init__(self, options: Common) -> None:
        self._as_json, self._quiet = options.as_json, options.quiet
        self._stderr = Terminal(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
        log = logging.getLogger("concertina")
        log.handlers = [_ToRemark(self.remark)]
        log.setLevel(logging.INFO)
        log.propagate = False

    def result(self, data: object, *parts: Table | str) -> None:
        """Print the verb's result: `data` as JSON when asked for, else the tables and lines one after the other."""
        if self._as_json:
            sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            return
        wide = None if sys.stdout.isatty() else PIPE_WIDTH
        terminal = Terminal(width=wide, markup=False, highlight=False, emoji=False)
        with terminal.capture() as captured:
            for part in parts:
                terminal.print(part, soft_wrap=isinstance(part, str))
        sys.stdout.write(captured.get())

    def remark(self, line: str) -> None:
        """Say something on stderr that is no part of the result."""
        if not self._quiet:
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
        """Move the bar of `stage`; a new stage ends the one before."""
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
        """Say where `stage` is, unless that was said a moment ago."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun, self._first = stage, now, done
        elif now - self._said < PLAIN_EVERY_S:
            return
        self._said = now
        gone = done - self._first
        left = f", about {(now - self._begun) * (1 - done) / gone:.0f} s left" if gone > 0 else ""
        self._say(f"{stage}: {100 * done:.0f}%{left}")


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table; numbers stand to the right, missing values are a dash."""
    rows = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, title in enumerate(titles):
        cells = [row[place] for row in rows if row[place] is not None]
        numeric = bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
        made.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(shown(cell) for cell in row))
    return made


def shown(value: object) -> str:
    """Return a value as people read it.

    Example:
        >>> shown(1234567), shown(0.25), shown(None), shown((0.1, 1.0)), shown(True)
        ('1,234,567', '0.25', '-', '0.1, 1', 'yes')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value) or "-"
    return str(value)


def describe(data: Mapping[str, Any]) -> list[Table | str]:
    """Return plain data as tables: one of the single values, then one for each list of records."""
    parts: list[Table | str] = [table(("what", "value"), [(k, v) for k, v in data.items() if not _records(v)])]
    for name, records in data.items():
        if _records(records):
            titles = list(dict.fromkeys(title for record in records for title in record))
            parts += ["", name, table(titles, [[record.get(title) for title in titles] for record in records])]
    return parts


def _records(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
