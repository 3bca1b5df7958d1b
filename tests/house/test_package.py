"""The package's front door: names are there, late, and stay what they are."""

from __future__ import annotations

import importlib
import subprocess
import sys

import concertina as ct


def test_every_name_of_the_front_door_is_there_and_the_list_is_sorted() -> None:
    assert list(ct.__all__) == sorted(ct.__all__)
    assert [name for name in ct.__all__ if not hasattr(ct, name)] == []
    assert set(ct.__all__) <= set(dir(ct))


def test_load_stays_the_function_when_the_room_of_that_name_is_imported() -> None:
    room = importlib.import_module("concertina.load")
    importlib.import_module("concertina.load.core")
    assert ct.load is room.load
    assert callable(ct.load)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import concertina, sys; print('torch' in sys.modules, concertina.load.__name__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "load", "True"]
