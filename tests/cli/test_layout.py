"""Tables fit the terminal: numbers stay whole at any width."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console
from tests.cli.conftest import Files

from concertina.cli.console import records_table, table
from concertina.cli.layout import Sheet
from concertina.cli.measure import TITLES

POINTS = [
    {"point": "p25", "share": 0.25, "macs": 634304, "size_bytes": 243856, "worst_class_recall": 0.11111},
    {"point": "p100", "share": 1.0, "macs": 12626880, "size_bytes": 451816, "worst_class_recall": None},
]


def lines(sheet: Sheet, width: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for piece in sheet.pieces(width):
        console.print(piece)
    return [line.rstrip() for line in out.getvalue().split("\n")]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
def test_numbers_are_never_broken(width: int) -> None:
    found = lines(records_table(POINTS), width)
    text = "\n".join(found)
    assert all(len(line) <= width for line in found)
    assert all(
        number in text for number in ("12,626,880", "634,304", "243,856", "451,816", "25.0%", "100.0%", "0.1111")
    )


def test_columns_without_room_follow_below_with_their_names() -> None:
    found = lines(records_table(POINTS), 40)
    assert sum(line.startswith("p100") for line in found) == 2
    assert len(lines(records_table(POINTS), 80)) == 1 + len(POINTS) + 1


def test_texts_wrap_between_words() -> None:
    reasons = table(("group", "why not"), [("stages.0", "one of its members is no contiguous prefix of the others")])
    assert lines(reasons, 42)[1:3] == [
        "stages.0  one of its members is no",
        "          contiguous prefix of the others",
    ]


def test_numbers_stand_to_the_right_and_intervals_count_as_numbers() -> None:
    sheet = table(("point", "macs", "interval", "told"), [("p1", 5, "4.0 to 5.5", True), ("p2", None, "–", False)])
    assert sheet.numeric == {1, 2}
    assert sheet.rows == (("p1", "5", "4.0 to 5.5", "yes"), ("p2", "-", "-", "no"))


def test_names_send_no_commands_to_the_terminal() -> None:
    assert table(("name",), [("a\x1b[31mb\u202ec\x9b",)]).rows == (("a\ufffd[31mb\ufffdc\ufffd",),)


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_shows_whole_numbers(width: int, files: Files) -> None:
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "concertina", "inspect", str(files.zoo)]
    environment = os.environ | {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    subprocess.run(words, stdout=follower, stderr=subprocess.PIPE, check=True, timeout=60, env=environment)
    os.set_blocking(leader, False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", os.read(leader, 65536).decode()).replace("\r", "")
    os.close(follower)
    os.close(leader)
    assert all(len(line) <= width for line in text.split("\n"))
    assert {"33,408", "33,738", "134,952"} <= set(text.split())


def test_the_long_table_has_a_title_for_each_field_shown() -> None:
    assert len(TITLES) == len(set(TITLES)) == 8
