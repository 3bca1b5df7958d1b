"""Checks of what was typed, made before anything slow is loaded."""

from __future__ import annotations

from pathlib import Path

from concertina.errors import DataError, InputError, StorageError


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


def names(text: str) -> tuple[str, ...]:
    """Return comma-separated names; nothing for an empty text.

    Example:
        >>> names("p10, p50"), names("")
        (('p10', 'p50'), ())
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_data(text: str) -> None:
    """Refuse data whose file is not there; `zoo:` names are left to the loader.

    Raises:
        DataError: No such file or folder.
    """
    place = text.rpartition("@")[0] or text
    if not text.startswith("zoo:") and not Path(text).exists() and not Path(place).exists():
        raise DataError(f"data '{place}' is not there", do="Check the path.")


def check_file(path: Path) -> None:
    """Refuse a family file that is not there.

    Raises:
        InputError: No such file, or a folder.
    """
    if not path.is_file():
        raise InputError(f"'{path}' is {'a folder' if path.is_dir() else 'not there'}", do="Give a family file.")


def check_output(path: Path, *, replace: bool) -> None:
    """Refuse an output that cannot be written, before work is spent on it.

    Args:
        path: What is to be written.
        replace: Whether something there already may be replaced.

    Raises:
        StorageError: Its folder is not there, or it exists and may not be replaced.
    """
    if not path.parent.is_dir():
        raise StorageError(f"folder '{path.parent}' is not there", do="Make it, or write elsewhere.")
    if path.exists() and not replace:
        raise StorageError(f"'{path}' is there already", do="Give --yes to replace it, or another name.")
