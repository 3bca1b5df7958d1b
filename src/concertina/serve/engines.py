"""What computes: torch over views and copies, or the exported points in another runtime."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from concertina.errors import InputError, some
from concertina.export import EAGER, EXPORTERS, Program, export_point
from concertina.export.capture import output_tensors
from concertina.family import Family
from concertina.family.composing import composition
from concertina.family.modules import AUTO, BASE
from concertina.family.runtimes import check_runtime, to_export
from concertina.serve.copies import Copies, gains_by_a_copy

Progress = Callable[[str, float], None]
"""Told what is being done and the share of it that is done."""


class Engine(ABC):
    """Computes what a point says to inputs; one thread at a time."""

    @abstractmethod
    def __call__(self, point: str, module: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs (samples, ...) of a point, with a module plugged in where one is named."""

    def check(self, module: str) -> None:
        """Refuse a module that this engine cannot plug in.

        Raises:
            InputError: It plugs in none.
            UnknownNameError: There is none of that name.
        """
        raise InputError("module", asked=repr(module), allowed="none: modules need the runtime 'eager'")

    def routed(self, _point: str, _inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        """Return the outputs of a point with the module that the router chooses for each sample, and their names.

        Raises:
            InputError: There is no router, or the modules chosen have outputs of different sizes.
        """
        raise InputError("module", asked=repr(AUTO), allowed="none: modules need the runtime 'eager'")

    def improve(self) -> bool:
        """Do a little of what makes later calls faster; return whether there may be more to do."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


class Eager(Engine):
    """Torch itself: views of the family's storage, and copies of those that are asked for often.

    Args:
        family: The family.
        copy_bytes: Most bytes of all copies together.
    """

    def __init__(self, family: Family, copy_bytes: int) -> None:
        self._family = family
        sizes = {p.name: p.size_bytes for p in family.points if gains_by_a_copy(family.view(p.name))}
        self.copies = Copies(copy_bytes, sizes)

    def __call__(self, point: str, module: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs of a point; arguments as for `Engine`."""
        if module:
            subnet = self._family.with_modules(point, module)
        else:
            subnet = self.copies.get(point) or self._family.view(point)
        with torch.inference_mode():
            return output_tensors(subnet(*inputs))

    def check(self, module: str) -> None:
        """Refuse a module that is not there, or a choice where there is none; errors as for `Engine`."""
        if module != AUTO:
            composition(self._family.modules, module)
        elif not self._family.routed:
            allowed = some(self._family.modules) or "none: the file has no modules"
            raise InputError("module", asked=f"{AUTO!r}, but no module knows its domain", allowed=allowed)

    def routed(self, point: str, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        """Return outputs, and the module of each sample; samples with the same module are computed together."""
        chosen = tuple(name or BASE for name in self._family.route(inputs))
        rows = {name: [row for row, other in enumerate(chosen) if other == name] for name in dict.fromkeys(chosen)}
        parts = [
            self(point, "" if name == BASE else name, tuple(tensor[own] for tensor in inputs))
            for name, own in rows.items()
        ]
        if len({tuple(output.shape[1:] for output in part) for part in parts}) > 1:
            allowed = "modules with outputs of one size, or one sample a request"
            raise InputError("module", asked=f"{AUTO!r}, which chose {some(rows)}", allowed=allowed)
        order = torch.tensor([row for own in rows.values() for row in own]).argsort()
        return tuple(torch.cat(same)[order] for same in zip(*parts, strict=True)), chosen

    def close(self) -> None:
        """Let go of the copies."""
        self.copies.clear()

    def improve(self) -> bool:
        """Make a copy of the hottest subnet that has none; return whether one was made."""
        return bool(self.copies.refresh(self._family.view))


class ExportedPoints(Engine):
    """Every point as a program of another runtime, checked against its subnet when it is made.

    Args:
        family: The family.
        runtime: Name of the exporter.
        threads: Threads of one call; as the runtime likes unless said.
        progress: Told how far the exports are.
    """

    def __init__(self, family: Family, runtime: str, threads: int | None, progress: Progress) -> None:
        exporter = EXPORTERS.get(runtime)()
        self._folder = tempfile.TemporaryDirectory(prefix="concertina-", ignore_cleanup_errors=True)
        self._programs: dict[str, Program] = {}
        try:
            for place, point in enumerate(family.points):
                progress(f"exporting {point.name}", place / len(family.points))
                path = Path(self._folder.name) / f"{place}{exporter.suffix}"
                made = export_point(runtime, to_export(family, point), path)
                self._programs[point.name] = exporter.load(made.files[0], threads)
        except BaseException:
            self._folder.cleanup()
            raise

    def __call__(self, point: str, module: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs of a point; arguments as for `Engine`, errors as for `check`."""
        if module:
            self.check(module)
        return self._programs[point](*inputs)

    def close(self) -> None:
        """Let go of the programs and remove their files."""
        self._programs.clear()
        self._folder.cleanup()


def make_engine(family: Family, runtime: str, threads: int | None, copy_bytes: int, progress: Progress) -> Engine:
    """Return what computes the points of a family in a runtime.

    Raises:
        UnknownNameError: No such runtime.
        ExtraError: It is not installed.
        ExportError: A point cannot be exported.
    """
    check_runtime(runtime)
    return Eager(family, copy_bytes) if runtime == EAGER else ExportedPoints(family, runtime, threads, progress)
