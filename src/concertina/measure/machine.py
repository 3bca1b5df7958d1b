"""Which machine and which versions a figure was measured with."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_STEP = ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU revision")
_INSTRUCTIONS = {
    *("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "sve", "i8mm", "bf16"),
}
"""Sets of instructions that change how fast a network runs."""


@cache
def machine_fingerprint() -> str:
    """Return processor, usable cores, instruction sets and kind of operating system, without any name of the machine.

    Two machines with one fingerprint should take about as long for one network. A model name alone does not do ("AMD
    EPYC" says a virtual machine), so family, model and stepping stand behind it.

    Example:
        >>> machine_fingerprint().count("; ")
        3
    """
    steps, sets = processor_details()
    parts = (
        processor_name() + (f" ({steps})" if steps else ""),
        f"{usable_cores()} cores",
        (platform.machine() or "unknown") + (f" ({sets})" if sets else ""),
        platform.system(),
    )
    return "; ".join(parts)


def multiplies_bfloat16(device: str = "cpu", cpu_info: Path = _CPU_INFO) -> bool:
    """Return whether a device multiplies in bfloat16 itself; a processor that emulates it takes ten times as long.

    Args:
        device: "cpu", "cuda" ...
        cpu_info: The system's list of processors, where there is one.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(processor_details(cpu_info)[1].split()))


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def processor_name(cpu_info: Path = _CPU_INFO) -> str:
    """Return the processor's model as the system states it, or "unknown processor".

    Args:
        cpu_info: The system's list of processors, where there is one.
    """
    name = _field("model name", _read(cpu_info)) or platform.processor()
    return " ".join(name.replace(";", ",").split()) or "unknown processor"


def processor_details(cpu_info: Path = _CPU_INFO) -> tuple[str, str]:
    """Return family, model and stepping ("26-2-1"), and the instruction sets that matter for speed; "" where unknown.

    Args:
        cpu_info: The system's list of processors, where there is one.
    """
    text = _read(cpu_info)
    flags = set((_field("flags", text) or _field("Features", text)).split())
    return "-".join(filter(None, (_field(name, text) for name in _STEP))), " ".join(sorted(flags & _INSTRUCTIONS))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(name: str, text: str) -> str:
    """Return the first value of a field in the system's list."""
    found = re.search(rf"^{name}[ \t]*:[ \t]*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


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
