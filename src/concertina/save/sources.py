"""Where the bytes of an artifact come from: a file, memory, or whatever else can read a range."""

from __future__ import annotations

import os
import stat
import threading
import weakref
from pathlib import Path
from typing import Protocol

from concertina.errors import StorageError, TruncatedError


class ByteSource(Protocol):
    """Something that knows its size and can read a range."""

    @property
    def size(self) -> int:
        """How many bytes there are now."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on, or raise `TruncatedError`."""
        ...


class BytesSource:
    """An artifact that lies in memory.

    Args:
        data: Its bytes; a bytearray that is changed later changes what is read.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on, or raise `TruncatedError`."""
        return _exactly(bytes(self._data[offset : offset + length]), offset, length, "artifact in memory")


class FileSource:
    """A regular file, held open so that a newer file of the same name does not change what is read.

    Args:
        path: The file. Directories, pipes and devices are refused before they are opened.

    Raises:
        StorageError: The path does not exist, is no regular file, or may not be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            _check_regular(self.path.stat().st_mode, self.path)
            self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError) as error:
            raise self._refused(error) from error
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, os.close, self._file)
        _check_regular(os.fstat(self._file).st_mode, self.path)

    @property
    def size(self) -> int:
        """How many bytes the file has now; raises `StorageError` once it is closed."""
        try:
            return os.fstat(self._file).st_size
        except OSError as error:
            raise self._refused(error) from error

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on.

        Raises:
            TruncatedError: The file ends before.
            StorageError: The disk refuses.
        """
        try:
            with self._lock:
                os.lseek(self._file, offset, os.SEEK_SET)
                parts = []
                missing = length
                while missing and (part := os.read(self._file, missing)):
                    parts.append(part)
                    missing -= len(part)
        except OSError as error:
            raise self._refused(error) from error
        return _exactly(parts[0] if len(parts) == 1 else b"".join(parts), offset, length, f"file {str(self.path)!r}")

    def close(self) -> None:
        """Close the file; later reads fail."""
        with self._lock:
            self._file = -1
            self._close()

    def _refused(self, error: Exception) -> StorageError:
        reason = getattr(error, "strerror", None) or str(error)
        return StorageError(f"file {str(self.path)!r}", asked=reason, allowed="a readable, open file")


def _exactly(data: bytes, offset: int, length: int, where: str) -> bytes:
    if len(data) != length:
        raise TruncatedError(where, asked=f"{len(data)} of {length} bytes at {offset}", allowed="the whole file")
    return data


def _check_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, device or socket"
        raise StorageError(f"file {str(path)!r}", asked=kind, allowed="a regular file")
