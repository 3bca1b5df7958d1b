"""The format page: its program rebuilds a network without Concertina; its tables say what the code does."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.save.builders import random_family, residual_family

from concertina import errors
from concertina.save import DTYPES
from concertina.save.codec import KEYS, OPTIONAL
from concertina.save.format import MAGIC
from concertina.save.manifest import ROLES

ALONE = """
import runpy, sys
sys.modules["concertina"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path_factory.mktemp("page") / "rebuild.py"
    path.write_text(blocks[-1], encoding="utf-8")
    return path


def test_the_program_needs_no_concertina(program: Path, tmp_path: Path) -> None:
    family = residual_family(3)
    family.write(tmp_path / "r20.concertina")
    command = [sys.executable, "-I", "-c", ALONE, program, tmp_path / "r20.concertina", tmp_path / "out.npz"]
    subprocess.run(command, check=True, timeout=120)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(family.tensors)
        assert all(found[name].tobytes() == array.tobytes() for name, array in family.tensors.items())


@pytest.mark.parametrize("seed", range(25))
def test_the_program_reads_what_the_writer_writes(seed: int, program: Path, tmp_path: Path) -> None:
    family = random_family(seed)
    path = tmp_path / "x.concertina"
    family.write(path)
    found: dict[str, Any] = runpy.run_path(str(program))["rebuild"](path)
    assert list(found) == [info.name for info in family.manifest.tensors]
    for name, array in family.tensors.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_the_page_names_what_the_code_has(page: str) -> None:
    manifest = page.partition("## Manifest")[2].partition("## Reading")[0]
    for key in (*KEYS, *OPTIONAL):
        assert f"`{key}`" in manifest, key
    assert ", ".join(f"{i} {role}" for i, role in enumerate(ROLES)) in page
    assert set(re.search(r"^- dtype: (.*)\.$", page, re.MULTILINE)[1].split()) == set(DTYPES)  # type: ignore[index]
    assert MAGIC.decode() in page


def test_the_page_lists_every_error_of_the_format(page: str) -> None:
    listed = set(re.findall(r"^\| `(\w+Error)` \|", page, re.MULTILINE))
    known = {error.__name__ for error in errors.FormatError.__subclasses__()}
    assert listed == known | {"StorageError"}
