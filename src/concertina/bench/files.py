"""What lies on disk: one file for all sizes beside one file a size, and how many bytes a size needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

import concertina.family.opening as opening
from concertina.bench.base import THEMES, Job, Subject, Theme, markdown
from concertina.bench.figures import FAMILY, Figures, Place, scope
from concertina.bench.verdicts import Bar, at_most
from concertina.errors import ConcertinaError
from concertina.export import EXPORTERS, export_point
from concertina.family.runtimes import to_export
from concertina.nest import materialize, named_tensors
from concertina.save import FileSource, open_artifact
from concertina.types import Record

PICKLE, SAFETENSORS, SHARED = "pickled modules (torch.save)", "safetensors, one a size", "onnx, shared weights"
NOTES = {
    FAMILY: "no code; any size from the first bytes on",
    PICKLE: "loading runs code of whoever wrote it",
    SAFETENSORS: "no code; the network has to be built first",
    SHARED: "no code; sizes over one file of weights",
}
MOST_OVER = 1.02
"""Largest share of file over the full weights and private tensors."""
EXPORTED = "onnx"


@THEMES.register("files", source="ours")
class FilesTheme(Theme):
    """Bytes on disk for all sizes, and those that must be read to run one."""

    title = "Files: bytes for all sizes, and to run one"

    def measure(self, job: Job) -> list[Record]:
        """Write all sizes in every format and count bytes; nothing is estimated."""
        found: list[Record] = []
        for subject in job.subjects:
            job.tell("files", job.subjects.index(subject) / len(job.subjects))
            found += [*_own(subject), *_separate(subject, job.folder)]
        return found + (_exported(job.subjects[0], job.folder) if job.effort.exported_subjects else [])

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return a row for each format."""
        lines: list[str] = []
        for subject in figures.subjects("all_bytes"):
            places = _some(figures.places[subject])
            rows = []
            for who in figures.who("all_bytes", subject):
                needed = (figures.one("needed_bytes", subject, who, place) for place in places)
                cells = (_bytes(figures.one("all_bytes", subject, who)), *map(_bytes, needed))
                rows.append((who, *cells, NOTES.get(who, "no code; one file a size")))
            titles = (subject, f"all {len(figures.places[subject])} points", *(p.title for p in places), "")
            lines += [*markdown(titles, rows), ""]
        return lines[:-1]

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Compare the file with what it holds, and bytes read with bytes needed."""
        bars = []
        for subject in figures.subjects("all_bytes"):
            over, more = (figures.one(metric, subject, FAMILY) for metric in ("over_weights", "bytes_too_many"))
            if over is not None:
                what, room = f"{subject}: file over full weights and private tensors", MOST_OVER - over.value
                bars.append(Bar(what, f"<= {MOST_OVER}x", f"{over.value:.3f}x", at_most(over, MOST_OVER), room))
            if more is not None:
                what = f"{subject}: bytes read to run a point, beyond header and its stages"
                bars.append(Bar(what, "0", f"{more.value:.0f}", at_most(more, 0), -more.value))
        return bars


class _Counted:
    """A file that counts what is read of it."""

    def __init__(self, path: Path) -> None:
        self._file = FileSource(path)
        self.count = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    def read(self, offset: int, length: int) -> bytes:
        """Return a range of bytes, and count it."""
        self.count += length
        return self._file.read(offset, length)


def _own(subject: Subject) -> Iterator[Record]:
    """Yield what the family's file takes, in all and for each point, as counted while it is read."""
    where, family = scope(subject.name, FAMILY), subject.family
    with open_artifact(subject.path) as artifact:
        ends, tables = artifact.ends, bool(artifact.tables())
        stages = max(ends.values())
    weights = sum(tensor.nbytes for tensor in _kept(named_tensors(family.supernet.module)))
    private = sum(tensor.nbytes for held in family.supernet.private.values() for tensor in _kept(held))
    size = subject.path.stat().st_size
    yield Record("", "all_bytes", float(size), "bytes", scope=where)
    yield Record("", "private_bytes", float(private), "bytes", scope=where)
    yield Record("", "tables_bytes", float(size - stages if tables else 0), "bytes", scope=where)
    yield Record("", "over_weights", stages / (weights + private), "ratio", scope=where)
    too_many = 0
    for point in family.points:
        source = _Counted(subject.path)
        opening.open(source, upto=point.name).at(point=point.name)
        too_many += source.count - ends[point.name]
        yield Record(point.spec.text, "needed_bytes", float(source.count), "bytes", scope=where)
    yield Record("", "bytes_too_many", float(too_many), "bytes", scope=where)


def _kept(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors that a file stores; batch counters are rebuilt."""
    return [tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")]


def _separate(subject: Subject, folder: Path) -> Iterator[Record]:
    """Yield what one file a size takes, pickled and as safetensors."""
    for who, suffix in ((PICKLE, ".pt"), (SAFETENSORS, ".safetensors")):
        whole = 0
        path = folder / f"one-point{suffix}"
        for point in subject.family.points:
            module = materialize(subject.family.view(point.name))
            if who == PICKLE:
                torch.save(module, path)
            else:
                save_file(module.state_dict(), path)
            whole += path.stat().st_size
            where = scope(subject.name, who)
            yield Record(point.spec.text, "needed_bytes", float(path.stat().st_size), "bytes", scope=where)
        yield Record("", "all_bytes", float(whole), "bytes", scope=scope(subject.name, who))


def _exported(subject: Subject, folder: Path) -> list[Record]:
    """Return what ONNX files take, one a size and all over one file of weights; nothing where it is not installed."""
    found, whole, family = [], 0, subject.family
    try:
        EXPORTERS.get(EXPORTED)().require()
        for place, point in enumerate(family.points):
            path = folder / f"{place}.onnx"
            export_point(EXPORTED, to_export(family, point), path)
            size, where = path.stat().st_size, scope(subject.name, f"{EXPORTED}, one a size")
            found.append(Record(point.spec.text, "needed_bytes", float(size), "bytes", scope=where))
            whole += size
        found.append(Record("", "all_bytes", float(whole), "bytes", scope=where))
        shared = family.export_all(folder / "shared-onnx")
        size = sum(path.stat().st_size for path in shared.folder.iterdir())
        found.append(Record("", "all_bytes", float(size), "bytes", scope=scope(subject.name, SHARED)))
    except ConcertinaError:
        return found
    return found


def _some(places: Sequence[Place]) -> Sequence[Place]:
    """Return up to three of the places: the first, the middle and the last."""
    return [places[i] for i in dict.fromkeys((0, math.ceil(len(places) / 2) - 1, len(places) - 1))]


def _bytes(record: Record | None) -> str:
    return "-" if record is None else f"{record.value:,.0f}"
