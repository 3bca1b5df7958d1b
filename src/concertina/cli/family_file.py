"""A family file as the verbs take it: looked at from its header, then opened as far as was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from concertina.cli.inputs import check_file
from concertina.cli.options import Common
from concertina.errors import InputError, LoadError, TruncatedError, some

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.save import Artifact, HttpSource
    from concertina.types import Point

Upto = str | float | None
UPTO = "Read a family file only up to this point (its name, or a share of the MACs): it need not be whole."
"""Help of `--upto`."""
OWN = "module:"
"""How the source of a family begins that was made from a user's own network."""


@dataclass(frozen=True, kw_only=True)
class FamilyOptions(Common):
    """Options of verbs that work on a family file."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    upto: Annotated[
        str,
        typer.Option(metavar="POINT", help=UPTO),
    ] = ""


class WithFile(Protocol):
    """Options among which a family file is."""

    @property
    def file(self) -> Path | str:
        """The family file, or its address."""


@dataclass(frozen=True)
class Reach:
    """What the header of a family file says, and how much of the file is asked for."""

    source: str
    """What the family was made from."""
    here: tuple[Point, ...]
    """The points that will be read."""
    stored: tuple[Point, ...]
    """All points of the file."""
    upto: Upto
    """How far to read, as `Artifact.read` takes it."""
    input_bytes: int
    """Bytes of the network's inputs for one sample."""


def look(path: Path, upto: str | None) -> Reach:
    """Return what the header says; no weight is read.

    Args:
        path: The family file.
        upto: What was given as `--upto`; empty for the whole file, None for a verb that needs the whole file and has
            no such option.

    Raises:
        InputError: There is no such file, or `--upto` names no point.
        FormatError: The file is not sound, or ends before what is asked for.
    """
    from concertina.save import TensorInfo, open_artifact

    check_file(path)
    with open_artifact(path) as artifact:
        points = artifact.manifest.points
        target = _target(upto or "", {point.name for point in points})
        here = _within(artifact, path, target, has_upto=upto is not None)
        architecture = artifact.manifest.architecture
        sample = sum(TensorInfo("input", dtype, shape[1:]).nbytes for shape, dtype in architecture.inputs)
        return Reach(architecture.source, here, points, target, sample)


def in_folder(path: Path) -> Path:
    """Return the one family file in a folder; a path that is no folder as it is.

    Raises:
        InputError: The folder holds none, or more than one.
    """
    if not path.is_dir():
        return path
    found = sorted(file.name for file in path.glob("*.concertina") if file.is_file() and not file.name.startswith("."))
    if len(found) != 1:
        do = "Name one of them." if found else "Give a family file, or a folder that holds one."
        raise InputError(f"family files in folder '{path}'", asked=some(found, 4) or "none", allowed="one", do=do)
    return path / found[0]


def look_far(source: HttpSource) -> Reach:
    """Return what the header of a file behind an address says.

    Raises:
        FormatError: The file is not sound.
        StorageError: The server refuses, or is silent.
    """
    from concertina.save import open_artifact

    manifest = open_artifact(source).manifest
    return Reach(manifest.architecture.source, manifest.points, manifest.points, None, 0)


def open_family(options: FamilyOptions, reach: Reach) -> Family:
    """Return the family, read as far as was asked for."""
    import concertina as ct

    return ct.open(options.file, upto=reach.upto)


def check_buildable(options: WithFile, reach: Reach, in_python: str) -> None:
    """Refuse a family that was made from a user's own network: only Python can build that.

    Args:
        options: Tell the file.
        reach: What its header says.
        in_python: What does in Python what was asked for, such as "family.measure(data)".

    Raises:
        LoadError: The text shows the way in Python.
    """
    if reach.source.startswith(OWN):
        upto = f", upto={reach.upto!r}" if reach.upto is not None else ""
        raise LoadError(
            f"the family in '{options.file}' was made from a network of your own, {reach.source.removeprefix(OWN)!r}, "
            "which only Python can build",
            do="In Python, with YourNetwork as it was then:\n"
            f"  family = ct.open({str(options.file)!r}, module=YourNetwork(){upto})\n"
            f"  {in_python}\n"
            "('concertina inspect' and 'concertina report' work on the file alone.)",
        )


def _target(text: str, names: set[str]) -> Upto:
    """Return `--upto` as a point's name or a share; None where it was not given."""
    if not text or text in names:
        return text or None
    try:
        return float(text)
    except ValueError:
        return text


def _within(artifact: Artifact, path: Path, upto: Upto, *, has_upto: bool) -> tuple[Point, ...]:
    try:
        return artifact.within(upto)
    except TruncatedError as error:
        raise _not_whole(artifact, path, upto, has_upto=has_upto) from error
    except InputError as error:
        raise type(error)("--upto", asked=error.asked, allowed=error.allowed, do=error.do) from error


def _not_whole(artifact: Artifact, path: Path, upto: Upto, *, has_upto: bool) -> TruncatedError:
    largest = max(artifact.available, key=lambda point: point.macs, default=None)
    there = f"{path.stat().st_size:,} of {artifact.file_bytes:,} bytes"
    if not has_upto:
        return TruncatedError(
            f"'{path}' is not whole", asked=there, do="Get the rest of the file: all of it is needed."
        )
    wanted = f"; {upto} needs {artifact.ends[str(upto)]:,}" if upto in artifact.ends else ""
    return TruncatedError(
        f"'{path}' is not whole",
        asked=f"{there}{wanted}",
        allowed=f"--upto {largest.name}, the largest point that is whole in it" if largest else "",
        do="Or get the rest of the file." if largest else "Get the rest of the file: no point is whole in it.",
    )
