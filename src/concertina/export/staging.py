"""Files appear whole or not at all: written and checked in a hidden folder beside their place, then moved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from concertina.errors import StorageError, some


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` to write into; it is gone afterwards.

    Args:
        target: What will be written; its folder is made where it is missing.

    Raises:
        StorageError: The disk refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"cannot write {target}", asked=error.strerror or str(error)) from error


def move_into(folder: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """Move files into `folder`, which is made where it is missing, and return where they are now."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(file.replace(folder / file.name) for file in files)


def refuse_strangers(folder: Path, own: Collection[str]) -> None:
    """Refuse to write into a folder that holds anything but files of an earlier run.

    Args:
        folder: The folder; it need not be there.
        own: Names of the files that will be written.

    Raises:
        StorageError: It holds other files, or is a file itself.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file", allowed="a folder")
    strangers = sorted(file.name for file in folder.iterdir() if file.name not in own) if folder.exists() else []
    if strangers:
        raise StorageError(f"folder {folder} holds other files", asked=some(strangers, 4), do="Name a new folder.")
