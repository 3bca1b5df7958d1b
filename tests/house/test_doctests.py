"""Every example in a docstring is run."""

from __future__ import annotations

import doctest
import importlib

import pytest
from tests.house.sources import PACKAGE, trees

WITH_EXAMPLES = [
    name for name in trees(PACKAGE) if ">>>" in (PACKAGE / name).read_text(encoding="utf-8") and "__main__" not in name
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name: str) -> None:
    dotted = ".".join(("concertina", *name.removesuffix(".py").split("/"))).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(dotted))
    assert result.attempted > 0
    assert result.failed == 0
