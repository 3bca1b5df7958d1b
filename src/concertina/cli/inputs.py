"""Checks of what was typed, made before anything slow is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from concertina.errors import DataError, InputError, LoadError, PointError, StorageError, did_you_mean


def fractions(text: str) -> tuple[float, ...]:
    """Return comma-separated shares in rising order.

    Raises:
        InputError: A part is no number, lies outside 0 to 1, or is there twice.

    Example:
        >>> fractions("1.0,0.25")
        (0.25, 1.0)
    """
    try:
        shares = sorted(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "--points", asked=repr(text), allowed="numbers joined by commas, such as 0.25,0.5,1"
        ) from error
    outside = [share for share in shares if not 0 < share <= 1]
    if outside:
        raise InputError("--points", asked=f"{outside[0]:g}", allowed="shares of the MACs above 0 and up to 1")
    if len(set(shares)) < len(shares):
        raise InputError("--points", asked=repr(text), allowed="each share once")
    return tuple(shares)


def sizes(text: str) -> tuple[int, ...]:
    """Return comma-separated whole numbers; nothing for an empty text.

    Raises:
        InputError: A part is no whole number of 1 or more, or is there twice.

    Example:
        >>> sizes("64,128"), sizes("")
        ((64, 128), ())
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    good = all(part.isascii() and part.isdecimal() and len(part) < 10 and int(part) for part in parts)
    if not good or len(set(parts)) < len(parts):
        raise InputError("--outputs", asked=repr(text), allowed="whole numbers joined by commas, such as 64,128")
    return tuple(map(int, parts))


def names(text: str) -> tuple[str, ...]:
    """Return comma-separated names; nothing for an empty text.

    Example:
        >>> names("p10, p50"), names("")
        (('p10', 'p50'), ())
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_points(wanted: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of points that a file does not hold.

    Args:
        wanted: What was given as `--points`.
        known: Names of the points that will be read.

    Raises:
        PointError: The text names the nearest and all there are.
    """
    for name in wanted:
        if name not in known:
            do = did_you_mean(name, known)
            raise PointError("--points", asked=repr(name), allowed=", ".join(known), do=do)


def data_path(text: str | None) -> Path | None:
    """Return the file or folder that a data text names; None for `zoo:` names and no text.

    Example:
        >>> data_path("digits.npz@part=test"), data_path("zoo:digits@train")
        (PosixPath('digits.npz'), None)
    """
    if not text or text.startswith("zoo:"):
        return None
    return Path(text) if Path(text).exists() else Path(text.rpartition("@")[0] or text)


def check_data(text: str, option: str = "--data") -> None:
    """Refuse data whose file is not there; `zoo:` names are left to the loader.

    Args:
        text: What was typed.
        option: Where it was typed.

    Raises:
        DataError: There is no text, or no such file or folder.
    """
    if not text:
        allowed = "a .npz, .parquet, .csv or .txt file, a folder of images, zoo:digits@train ..."
        raise DataError(option, asked="an empty text", allowed=allowed)
    place = data_path(text)
    if place is not None and not place.exists():
        raise DataError(f"data '{place}' is not there", do="Check the path.")


def check_weights(text: str | None) -> None:
    """Refuse weights whose file is not there.

    Raises:
        LoadError: There is an empty text, no such file, or a folder.
    """
    if text is None or text == "random":
        return
    if not text:
        raise LoadError("--weights", asked="an empty text", allowed="a .safetensors file, or a checkpoint of tensors")
    if not Path(text).is_file():
        what = "are a folder" if Path(text).is_dir() else "are not there"
        raise LoadError(f"weights '{text}' {what}", do="Check the path.")


def check_file(path: Path) -> None:
    """Refuse a family file that is not there, or none that can be read here and there.

    Raises:
        InputError: No such file, a folder, or a pipe or device.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file" if path.exists() else "not there"
        raise InputError(f"'{path}' is {what}", do="Give a family file.")


def check_output(path: Path, *, replace: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a file that cannot be written, before work is spent on it.

    Args:
        path: What is to be written.
        replace: Whether a file that is there already may be replaced.
        inputs: What the work reads; the output must be none of it.

    Raises:
        StorageError: Its folder is not there or not writable, it is no file, it is read too, or it exists and may not
            be replaced.
    """
    _check_parent(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise StorageError(f"'{path}' is {kind}", do="Give the name of a file.")
    if any(_same(path, read) for read in inputs if read is not None):
        raise StorageError(f"'{path}' is read by this command and cannot be its output", do="Give another name.")
    if path.exists() and not replace:
        raise StorageError(f"'{path}' is there already", do="Give --yes to replace it, or another name.")


def check_folder(path: Path, *, replace: bool) -> None:
    """Refuse a folder that cannot be written to, before work is spent on it.

    Args:
        path: The folder; it is made where it is missing.
        replace: Whether files in it may be replaced.

    Raises:
        StorageError: Where it would be is no folder or not writable, it is a file, or it holds files that may not be
            replaced.
    """
    _check_parent(path)
    if path.exists() and not path.is_dir():
        raise StorageError(f"'{path}' is a file", do="Give the name of a folder.")
    if path.exists() and any(path.iterdir()) and not replace:
        raise StorageError(f"'{path}' is there already", do="Give --yes to replace what is in it, or another name.")


def check_space(path: Path, needed: int) -> None:
    """Refuse to work for an output that finds no room on its disk.

    Args:
        path: What is to be written.
        needed: Bytes that it needs at the least.

    Raises:
        StorageError: There is less room.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        asked, allowed = f"{free:,} bytes free", f"{needed:,} or more"
        raise StorageError(f"no room for '{path}'", asked=asked, allowed=allowed, do="Free some, or write elsewhere.")


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise StorageError(f"folder '{path.parent}' is not there", do="Make it, or write elsewhere.")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"folder '{path.parent}' is not writable", do="Write elsewhere.")


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file, links followed."""
    return os.path.realpath(one) == os.path.realpath(other) or (one.exists() and other.exists() and one.samefile(other))


def assigned(texts: Sequence[str] | None, option: str) -> dict[str, float]:
    """Return "cat=0.02", "cat=0.02,dog=0.1" and the like as class name -> number.

    Args:
        texts: As they were typed; a comma may stand in a class name where there is one number only.
        option: Where they were typed, to begin messages.

    Raises:
        InputError: One is no such pair, or names a class twice.

    Example:
        >>> assigned(["cat=0.02,dog=0.1"], "--protect")
        {'cat': 0.02, 'dog': 0.1}
    """
    found: dict[str, float] = {}
    split = [part for text in texts or () for part in (text.split(",") if text.count("=") > 1 else [text])]
    for text in split:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            name, value = "", 0.0
        if not name.strip():
            raise InputError(option, asked=repr(text), allowed="CLASS=NUMBER, such as cat=0.02")
        if name.strip() in found:
            raise InputError(option, asked=f"{name.strip()!r} twice", allowed="each class once")
        found[name.strip()] = value
    return found
