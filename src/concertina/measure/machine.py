"""Which machine and which versions a figure was measured with."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


@cache
def machine_fingerprint() -> str:
    """Return processor, cores, architecture and kind of operating system, without any name of the machine.

    Example:
        >>> machine_fingerprint().count("; ")
        3
    """
    parts = (processor_name(), f"{os.cpu_count() or 1} cores", platform.machine() or "unknown", platform.system())
    return "; ".join(parts)


def processor_name(cpu_info: Path = _CPU_INFO) -> str:
    """Return the processor's model as the system states it, or "unknown processor".

    Args:
        cpu_info: The system's list of processors, where there is one.
    """
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpu_info.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    name = found.group(1) if found else platform.processor()
    return " ".join(name.replace(";", ",").split()) or "unknown processor"


@cache
def versions() -> str:
    """Return the versions of concertina, torch and Python.

    Example:
        >>> versions().split("; ")[0].startswith("concertina ")
        True
    """
    return f"concertina {_installed('concertina-nn')}; torch {_installed('torch')}; python {platform.python_version()}"


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
