"""Looking at a network without leaving a trace on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[nn.Module]:
    """Put `module` in eval mode and give every submodule its own mode back afterwards.

    Flags are set directly, because `train` and `eval` may be overridden (view subnets refuse `train`).
    """
    modes = [(part, part.training) for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield module
    finally:
        for part, mode in modes:
            part.training = mode
