"""Every error a user can meet, as one tree.

ConcertinaError
├── InputError              what was given cannot be used          (exit code 2)
│   ├── LoadError           a network, weights or architecture
│   ├── DataError           a data file, batch or label
│   ├── SpecError           a subnet spec, dim or choice
│   ├── BudgetError         a budget that no operating point fits
│   ├── PointError          a position that is no operating point
│   ├── UnknownNameError    a name that no registry holds
│   ├── ExtraError          an optional package that is not installed
│   └── ViewError           a use that would write through a view
├── FormatError             a file that is not a sound artifact    (exit code 2)
│   ├── MagicError          not a concertina file at all
│   ├── HeaderError         header too large, not JSON, or not as the format says
│   ├── LayoutError         stages overlap, leave a hole or miss the end
│   ├── DtypeError, ShapeError, TruncatedError, HashError, VersionError
├── AnalysisError           a network that cannot be analysed      (exit code 2)
├── TrainingError           training that cannot go on (NaN loss)  (exit code 1)
│   └── RankError           another process of the run has failed
├── ExportError             a file that computes something else    (exit code 1)
├── BoundError              a stated bound that is not met         (exit code 1)
├── ResumeError             a checkpoint of another run            (exit code 2)
├── ServeError              a request that gets no answer          (exit code 1)
│   ├── BusyError           too much work is ahead: ask again later
│   └── LateError           it waited longer than its timeout
└── StorageError            the disk refuses (no space, no right)  (exit code 2)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class ConcertinaError(Exception):
    """Root of all errors that Concertina raises on purpose.

    Args:
        where: What is wrong and where: a layer's path, a file, a spec.
        asked: What was asked for or found.
        allowed: What would have been right.
        do: What the user can do about it.

    Example:
        >>> print(SpecError("width of 'conv1'", asked="13", allowed="8, 16", do="Use 16."))
        width of 'conv1': got 13; allowed: 8, 16. Use 16.
    """

    exit_code = 2

    def __init__(self, where: str, *, asked: str = "", allowed: str = "", do: str = "") -> None:
        self.where, self.asked, self.allowed, self.do = where, asked, allowed, do
        parts = [part for part in (f"got {asked}" if asked else "", f"allowed: {allowed}" if allowed else "") if part]
        text = where + (": " + "; ".join(parts) if parts else "")
        if not text.endswith((".", "!", "?")):
            text += "."
        super().__init__(f"{text} {do}".strip())


class InputError(ConcertinaError, ValueError):
    """What was given cannot be used."""


class LoadError(InputError):
    """A network, its weights or its architecture cannot be loaded."""


class DataError(InputError):
    """A data file, a batch or a label cannot be used."""


class SpecError(InputError):
    """A subnet spec names an unknown dim or a choice that is not there."""


class BudgetError(InputError):
    """No operating point fits the budget."""


class PointError(InputError):
    """A position of the growth order that is no operating point."""


class UnknownNameError(InputError):
    """A name that the registry asked does not hold."""


class ExtraError(InputError):
    """Something needs an optional package that is not installed."""


class ViewError(InputError):
    """A use of a view subnet that would write into the family's shared storage."""


class FormatError(ConcertinaError):
    """A file is not a sound artifact."""


class MagicError(FormatError):
    """The file is no Concertina artifact at all."""


class HeaderError(FormatError):
    """The header is too large, is not JSON, or is not what the format says."""


class LayoutError(FormatError):
    """Stages overlap, leave a hole, or do not end where the file ends."""


class DtypeError(FormatError):
    """A stage or tensor has a dtype that the format does not allow."""


class ShapeError(FormatError):
    """A tensor's shape and its bytes do not agree."""


class TruncatedError(FormatError):
    """The file ends before what was asked for."""


class HashError(FormatError):
    """Bytes are not those that were written."""


class VersionError(FormatError):
    """The format version is not one that this release reads."""


class AnalysisError(ConcertinaError):
    """A network cannot be analysed."""


class TrainingError(ConcertinaError):
    """Training cannot go on."""

    exit_code = 1


class RankError(TrainingError):
    """Another of the processes that train together has failed.

    Args:
        where: What happened, as for `ConcertinaError`.
        asked: As for `ConcertinaError`.
        quotes: Whether it repeats an error that the other process has and tells.
    """

    def __init__(self, where: str, *, asked: str = "", quotes: bool = False) -> None:
        super().__init__(where, asked=asked)
        self.quotes = quotes


class ExportError(ConcertinaError):
    """A subnet cannot be exported, or the exported file does not compute what the subnet does."""

    exit_code = 1


class BoundError(ConcertinaError):
    """A bound that was stated is not met, so what rests on it is not given."""

    exit_code = 1


class ResumeError(ConcertinaError):
    """A checkpoint belongs to another run."""


class ServeError(ConcertinaError):
    """A sound request gets no answer."""

    exit_code = 1


class BusyError(ServeError):
    """Too much work is ahead, or the session is closing.

    Args:
        where: What happened, as for `ConcertinaError`.
        asked: As for `ConcertinaError`.
        retry_after_s: When it is worth asking again.
    """

    def __init__(self, where: str, *, asked: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(where, asked=asked, do=f"Ask again in {max(retry_after_s, 0.001):.3g} s.")
        self.retry_after_s = retry_after_s


class LateError(ServeError):
    """A request waited longer than its timeout."""


class StorageError(ConcertinaError):
    """The disk refuses: no space left, no permission, not a directory."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return what to tell whoever typed `name`: the nearest known name, or one of these initials; "" for none.

    Example:
        >>> [did_you_mean(name, ["epochs", "learning_rate"]) for name in ("epoch", "lr", "x")]
        ["Did you mean 'epochs'?", "Did you mean 'learning_rate'?", '']
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    near += [each for each in names if "".join(word[:1] for word in re.split("[_-]", each)) == name]
    return f"Did you mean {near[0]!r}?" if near else ""


def how_to_install(extra: str) -> str:
    """Return how to get the packages of an extra, for those who installed Concertina and those who cloned it.

    Example:
        >>> print(how_to_install("onnx"))
        Run: pip install "concertina-nn[onnx]" (in a clone of the repository: pip install -e ".[onnx]").
    """
    return f'Run: pip install "concertina-nn[{extra}]" (in a clone of the repository: pip install -e ".[{extra}]").'


def some(items: Iterable[object], limit: int = 8) -> str:
    """Return up to `limit` items as text, with a count of the rest.

    Example:
        >>> some(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    listed = [str(item) for item in items]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
