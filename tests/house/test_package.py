"""The package's front door: names are there, late, and stay what they are."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import concertina as ct


def test_every_name_of_the_front_door_is_there_and_the_list_is_sorted() -> None:
    assert list(ct.__all__) == sorted(ct.__all__)
    assert [name for name in ct.__all__ if not hasattr(ct, name)] == []
    assert set(ct.__all__) <= set(dir(ct))


@pytest.mark.parametrize("name", ["load", "report"])
def test_a_function_stays_when_the_room_of_its_name_is_imported(name: str) -> None:
    room = importlib.import_module(f"concertina.{name}")
    importlib.import_module("concertina.load.core")
    importlib.import_module("concertina.report.page")
    assert getattr(ct, name) is getattr(room, name)
    assert callable(getattr(ct, name))


def test_importing_the_package_loads_no_torch() -> None:
    code = "import concertina, sys; print('torch' in sys.modules, concertina.load.__name__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "load", "True"]
