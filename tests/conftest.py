"""What every test gets: one thread, no random examples, no kept analyses, real data where it is there, golden files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
NOT_FOUND = "real data not found at ../shared/data"

torch.set_num_threads(1)
os.environ["CONCERTINA_ANALYSIS_CACHE"] = "off"
settings.register_profile("house", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="Write golden files again instead of comparing.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REAL_DATA.is_dir():
        return
    for item in items:
        if "real" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=NOT_FOUND))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = sum(NOT_FOUND in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.write_line(f"{skipped} tests marked 'real' were skipped: {NOT_FOUND}", yellow=True)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data and weights; tests that ask for it are marked `real`."""
    if not REAL_DATA.is_dir():
        pytest.skip(NOT_FOUND)
    return REAL_DATA


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Return a check that a text equals a golden file; `pytest --rewrite` writes the file instead."""

    def assert_golden(path: Path, text: str) -> None:
        if request.config.getoption("--rewrite"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        kept = path.read_text(encoding="utf-8") if path.exists() else ""
        difference = "\n".join(difflib.unified_diff(kept.split("\n"), text.split("\n"), "kept", "now", lineterm=""))
        assert kept == text, f"{path.name} is out of date; review, then `sh scripts/rewrite`:\n{difference}"

    return assert_golden
