"""Beside its peers: a family measured on this machine, one theme a file. Add one: write the file, import it here."""

from concertina.bench import files, memory, quality, runtimes, speed, switching
from concertina.bench.base import THEMES, Effort, Job, Study, Subject, Theme, Tuning
from concertina.bench.figures import Figures, Place
from concertina.bench.run import TITLES, reached, run_bench, told
from concertina.bench.subjects import FromFile, Source
from concertina.bench.verdicts import Bar

__all__ = [
    "THEMES",
    "TITLES",
    "Bar",
    "Effort",
    "Figures",
    "FromFile",
    "Job",
    "Place",
    "Source",
    "Study",
    "Subject",
    "Theme",
    "Tuning",
    "files",
    "memory",
    "quality",
    "reached",
    "run_bench",
    "runtimes",
    "speed",
    "switching",
    "told",
]
