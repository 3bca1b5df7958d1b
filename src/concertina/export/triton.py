"""Triton: a model repository in which every point of a family is a version of one model.

Source: Triton Inference Server, model repository and model configuration.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from concertina.errors import InputError, StorageError, some
from concertina.export.base import LAYOUTS
from concertina.export.extras import need
from concertina.export.onnx import EXTRA, Onnx
from concertina.export.points import Exported, RealInputs, ToExport, export_point
from concertina.export.staging import staging
from concertina.export.triton_config import LABELS, Ports, Served, config_text, in_common, ports_of

CONFIG, MODEL, FACTS = "config.pbtxt", "model.onnx", "concertina.json"
"""Names that Triton gives to its files, and ours beside them."""
MOST_BATCH = 4096
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class TritonPoint:
    """A point on its way into a repository."""

    point: ToExport
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it, as JSON values: macs, share, metrics ..."""


@dataclass(frozen=True)
class TritonVersion:
    """One version of a model: a point under the number that Triton wants."""

    number: int
    """1 for the smallest point."""
    point: str
    made: Exported


@dataclass(frozen=True)
class TritonRepository:
    """What was written."""

    folder: Path
    """The repository, for Triton's `--model-repository`."""
    model: str
    versions: tuple[TritonVersion, ...]
    """Smallest first; the last is served where a client names none."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all versions."""
        return sum(version.made.num_bytes for version in self.versions)


def export_triton(
    points: Sequence[TritonPoint],
    folder: Path,
    model: str,
    *,
    max_batch: int = 16,
    facts: Mapping[str, Any] | None = None,
    real: RealInputs | None = None,
    progress: Progress | None = None,
) -> TritonRepository:
    """A model repository for Triton: one model whose versions are the points, 1 the smallest, each checked.

    A client that names no version gets the highest number, which is the largest point. `concertina.json` beside the
    configuration says which point each number is, with its figures; so do the configuration's parameters.

    Args:
        points: The points, smallest first.
        folder: The repository; made where it is missing. Other models in it stay as they are.
        model: Name of the model.
        max_batch: Most inputs that Triton may join in one call.
        facts: Further facts for `concertina.json`; "class_names" among them give the labels.
        real: Data to compare the files on, beside made-up inputs.
        progress: Told what is being done and the share that is done.

    Raises:
        InputError: The model's name or the batch is of no use.
        ExtraError: ONNX is not installed.
        ExportError: A point cannot be exported, or its file computes something else; nothing is written then.
        StorageError: The disk refuses, or there is something else in place of the model.
    """
    check_model(model)
    if not 1 <= max_batch <= MOST_BATCH:
        raise InputError("largest batch", asked=str(max_batch), allowed=f"1 to {MOST_BATCH}")
    Onnx().require()
    check_place(folder, model)
    tell, plain = progress or (lambda _what, _done: None), dict(facts or {})
    fresh = not folder.exists()
    with staging(folder if fresh else folder / model) as hidden:
        place = hidden / "new" / model
        place.mkdir(parents=True)
        versions = []
        for done, given in enumerate(points):
            tell(f"exporting {given.point.name}", done / len(points))
            made = export_point("onnx", given.point, place / str(done + 1) / MODEL, real)
            versions.append(TritonVersion(done + 1, given.point.name, made))
        _write_beside(place, versions, points, max_batch, plain)
        _put(hidden / "new" if fresh else place, folder if fresh else folder / model, hidden / "old")
    return TritonRepository(folder, model, tuple(_moved(version, folder / model) for version in versions))


LAYOUTS.register("triton", source="NVIDIA Triton Inference Server, model repository, through ONNX")(export_triton)


def check_model(name: str) -> None:
    """Refuse a name that cannot be that of a folder and of a model in an address.

    Raises:
        InputError: The text says what is allowed.

    Example:
        >>> check_model("digits-v2.1")
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        allowed = "1 to 100 of the letters a to z and A to Z, digits and . _ -, the first a letter or digit"
        raise InputError("name of the model", asked=repr(name)[:120], allowed=allowed)


def check_place(folder: Path, model: str) -> None:
    """Refuse to write where something else is than an earlier model of ours.

    Raises:
        StorageError: The text says what is there.
    """
    for place in (folder, folder / model):
        if place.exists() and not place.is_dir():
            raise StorageError(f"{place} is a file", allowed="a folder")
    there = sorted(path.name for path in (folder / model).iterdir()) if (folder / model).is_dir() else []
    others = [name for name in there if name not in (CONFIG, FACTS, LABELS) and not name.isdecimal()]
    if others or (there and FACTS not in there):
        raise StorageError(
            f"folder {folder / model} holds another model",
            asked=some(others or there, 4),
            do="Give the model another name, or name a new folder.",
        )


def _write_beside(
    place: Path,
    versions: Sequence[TritonVersion],
    points: Sequence[TritonPoint],
    max_batch: int,
    facts: dict[str, Any],
) -> None:
    """Write the configuration, the labels and the facts of a model whose versions are there."""
    read = [_read(version.made.files[0]) for version in versions]
    ports = in_common([ports for ports, _ in read])
    listed = {
        str(version.number): {"point": version.point, **given.figures}
        for version, given in zip(versions, points, strict=True)
    }
    names = [" ".join(str(name).split()) for name in facts.get("class_names", ())]
    parameters = {f"concertina.version.{number}": json.dumps(known) for number, known in listed.items()}
    served = Served(place.name, ports, max_batch, len(names), parameters)
    (place / CONFIG).write_text(config_text(served), encoding="utf-8")
    if names:
        (place / LABELS).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    told = {
        "format": "concertina-triton",
        "format_version": 1,
        "model": place.name,
        "without_a_version": str(len(versions)),
        "versions": {number: known | _of_file(place / number / MODEL) for number, known in listed.items()},
        "needs": {key: max(needs[key] for _, needs in read) for key in ("onnx_ir", "opset")},
        "checked_with": {"onnxruntime": installed("onnxruntime")},
        **facts,
    }
    (place / FACTS).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(path: Path) -> tuple[Ports, dict[str, int]]:
    """Return what a file takes and gives, and the versions of ONNX that a runtime must know for it."""
    (onnx,) = need(EXTRA, "onnx")
    model = onnx.load(path)
    needs = {"onnx_ir": model.ir_version, "opset": max(entry.version for entry in model.opset_import)}
    return ports_of(model, onnx.TensorProto.DataType.Name), needs


def _of_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": f"{path.parent.name}/{path.name}", "file_bytes": path.stat().st_size, "sha256": digest}


def _put(new: Path, target: Path, aside: Path) -> None:
    """Move a folder to its place in one step; one that is there is taken out, and back where the move fails."""
    there = target.exists()
    if there:
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if there:
            aside.rename(target)
        raise


def _moved(version: TritonVersion, place: Path) -> TritonVersion:
    made = version.made
    files = tuple(place / str(version.number) / file.name for file in made.files)
    return TritonVersion(version.number, version.point, Exported(files, made.num_bytes, made.agreement))
