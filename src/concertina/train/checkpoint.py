"""Checkpoints of a training run: one safetensors file with a hash of its own, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from concertina.errors import ResumeError, StorageError

FORMAT = "2"
BLANK = "0" * 64
"""Stands in place of the hash while it is computed."""
FIRST_AFTER_S = 3.0
EVERY_S = 30.0
MOST_OF_TIME = 0.04
"""Largest share of the time that goes into writing checkpoints."""


class Rhythm:
    """When to write the next checkpoint: soon after the start, then now and then, and rarely where writing is slow.

    Args:
        write: Writes a checkpoint.
        clock: Gives seconds.
    """

    def __init__(self, write: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._due = clock() + FIRST_AFTER_S

    @property
    def is_due(self) -> bool:
        """Whether it is time to write a checkpoint."""
        return self._clock() >= self._due

    def write(self, *, at_once: bool = False) -> None:
        """Write a checkpoint if it is time to."""
        begun = self._clock()
        if begun < self._due and not at_once:
            return
        self._write()
        ended = self._clock()
        self._due = ended + max(EVERY_S, (ended - begun) / MOST_OF_TIME)


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], run: Mapping[str, object], state: Mapping[str, object]
) -> None:
    """Write a checkpoint: a temporary sibling, synced, then renamed over the old one.

    Args:
        path: The checkpoint file; its folder is made.
        tensors: All that the next steps depend on.
        run: What makes this run this run (settings, data, points), JSON values.
        state: Where it stands, JSON values.

    Raises:
        StorageError: The disk refuses.
    """
    metadata = {"format": FORMAT, "run": json.dumps(run, sort_keys=True), "state": json.dumps(state, sort_keys=True)}
    content = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, metadata | {"sha256": BLANK})
    content = _with_hash(content, BLANK, hashlib.sha256(content).hexdigest())
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write the checkpoint {path}", asked=error.strerror or str(error)) from error


def read_checkpoint(path: Path, run: Mapping[str, object]) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the state of a checkpoint of the same run.

    Raises:
        ResumeError: The file is unreadable or damaged, or belongs to a run with other settings, which are named.
    """
    try:
        content = path.read_bytes()
        metadata = _metadata(content)
        kept, state = json.loads(metadata["run"]), json.loads(metadata["state"])
        is_whole = metadata["format"] == FORMAT and _hash_fits(content, metadata["sha256"])
        tensors = load(content) if is_whole else {}
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not is_whole:
        raise _damaged(path, "bytes that are not those that were written, or those of another release")
    now = json.loads(json.dumps(run))
    changed = [
        f"{key}: {kept.get(key)} then, {now.get(key)} now"
        for key in sorted(now | kept)
        if kept.get(key) != now.get(key)
    ]
    if changed:
        raise ResumeError(
            f"checkpoint {path} belongs to another run",
            asked="; ".join(changed[:3]),
            do="Repeat the first run's settings, or start without --resume.",
        )
    return tensors, state


def _damaged(path: Path, found: str) -> ResumeError:
    return ResumeError(f"checkpoint {path} is damaged", asked=found, do="Start without --resume.")


def _metadata(content: bytes) -> dict[str, str]:
    """Return the texts in the header of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


def _hash_fits(content: bytes, written: str) -> bool:
    return hashlib.sha256(_with_hash(content, written, BLANK)).hexdigest() == written


def _with_hash(content: bytes, old: str, new: str) -> bytes:
    """Return the file with another hash in its header; the header lies before all tensors, and holds the hash once."""
    return content.replace(f'"sha256":"{old}"'.encode(), f'"sha256":"{new}"'.encode(), 1)
