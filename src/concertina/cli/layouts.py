"""Folders for other servers, as `concertina export --to` knows them: checks before anything slow, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from concertina.cli.facts import of_point
from concertina.cli.inputs import check_folder
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.cli.console import Report
    from concertina.export import RealInputs
    from concertina.family import Family

TRITON = "triton"
USUAL_BATCH = 16


class ForTriton(Protocol):
    """The options that matter here."""

    @property
    def file(self) -> Path:
        """The family file."""

    @property
    def output(self) -> Path:
        """The repository."""

    @property
    def name(self) -> str:
        """What clients call the model; empty for the file's name."""

    @property
    def max_batch(self) -> int | None:
        """Most inputs in one call."""

    @property
    def modules(self) -> str:
        """Names of modules to merge into every version."""

    @property
    def yes(self) -> bool:
        """Whether an earlier model may be replaced."""


def model_name(options: ForTriton) -> str:
    """Return what clients will call the model."""
    return options.name or options.file.stem


def check_triton(options: ForTriton) -> None:
    """Refuse a name, a folder or a machine that cannot give a model repository.

    Raises:
        InputError: The name is of no use, or packages are missing.
        StorageError: The folder is no folder, or a model of that name is in it.
    """
    from concertina.export import EXPORTERS, check_model, check_place

    name = model_name(options)
    try:
        check_model(name)
    except InputError as error:
        do = "" if options.name else "Give one with --name."
        raise InputError("--name", asked=error.asked, allowed=error.allowed, do=do) from error
    EXPORTERS.get("onnx")().require()
    check_folder(options.output, replace=True)
    check_place(options.output, name)
    if options.output.is_dir():
        check_folder(options.output / name, replace=options.yes)


def write_triton(family: Family, options: ForTriton, real: RealInputs | None, progress: Report) -> dict[str, Any]:
    """Write the repository and return what is told of it."""
    from concertina.family.baking import point_with
    from concertina.family.runtimes import TritonOptions, exported_for_triton

    batch = USUAL_BATCH if options.max_batch is None else options.max_batch
    how: TritonOptions = {"max_batch": batch, "progress": progress, "modules": options.modules}
    made = exported_for_triton(family, options.output, model_name(options), how, real)
    points = {point.name: point_with(family, point, options.modules) for point in family.points}
    return {
        "folder": str(made.folder),
        "model": made.model,
        "bytes": made.num_bytes,
        "without a version": str(made.versions[-1].number),
        "versions": [
            {"version": version.number}
            | of_point(points[version.point])
            | {
                "file": str(version.made.files[0]),
                "file_bytes": version.made.num_bytes,
                "max_relative_error": version.made.agreement.max_relative_error,
                "same_first_choice": version.made.agreement.top1 or None,
            }
            for version in made.versions
        ],
    }
