"""Checkpoints of a training run: one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from concertina.errors import ResumeError, StorageError


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
    metadata = {"run": json.dumps(run, sort_keys=True), "state": json.dumps(state, sort_keys=True)}
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, metadata))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write the checkpoint {path}", asked=error.strerror or str(error)) from error


def read_checkpoint(path: Path, run: Mapping[str, object]) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the state of a checkpoint of the same run.

    Raises:
        ResumeError: The file is unreadable, or belongs to a run with other settings, which are named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kept, state = json.loads(metadata["run"]), json.loads(metadata["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ResumeError(
            f"checkpoint {path} cannot be read", asked=str(error), do="Start without --resume."
        ) from error
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
