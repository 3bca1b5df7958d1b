"""Replace a file as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from concertina.errors import StorageError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Give a file to write; when the block ends well it takes the place of `path`, else it is removed.

    The bytes go to a sibling with another name, are forced to the disk, and are renamed in one step; a
    process that is killed leaves the old file as it was. A symbolic link is followed, not replaced.

    Args:
        path: The file to make or replace.

    Raises:
        StorageError: No space, no permission, no such folder, or `path` is there and no regular file.
    """
    final = _target(path)
    sibling = final.with_name(f".{final.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        with _written(sibling) as file:
            yield file
        sibling.replace(final)
    except OSError as error:
        _remove(sibling)
        raise _refused(final, error) from error
    except BaseException:
        _remove(sibling)
        raise
    _sync_folder(final)


def _target(path: str | Path) -> Path:
    """Return where the file goes, links followed; raises `StorageError` for what must not be replaced."""
    try:
        final = Path(os.path.realpath(path))
        if os.path.lexists(final) and not final.is_file():
            kind = "a directory" if final.is_dir() else "a pipe, device or endless link"
            raise StorageError(f"writing {str(path)!r}", asked=kind, allowed="a new or regular file")
        if not final.parent.is_dir():
            raise StorageError(
                f"writing {str(path)!r}", asked="no such folder", do=f"Make {str(final.parent)!r} first."
            )
    except (OSError, ValueError) as error:
        raise StorageError(f"writing {str(path)!r}", asked=str(error)) from error
    return final


@contextlib.contextmanager
def _written(sibling: Path) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(sibling, flags, 0o666), "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _refused(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(
        f"writing {str(path)!r}", asked=reason, do="Nothing was changed; free space or choose a folder."
    )


def _remove(sibling: Path) -> None:
    with contextlib.suppress(OSError):
        sibling.unlink(missing_ok=True)


def _sync_folder(final: Path) -> None:
    """Force the new name to the disk, where the system can; the file itself is already there."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
