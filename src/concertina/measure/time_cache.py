"""Tables of layer times, kept in the user's cache folder: measured once for a machine, a network and a setting."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from concertina.measure.layer_times import Between, LatencyModel, LayerTimes, Reporter, measure_layers
from concertina.measure.layers import Layer
from concertina.measure.machine import machine_fingerprint, versions
from concertina.measure.runs import write_whole
from concertina.types import Space

log = logging.getLogger("concertina")

FORMAT = 1


def cache_folder() -> Path:
    """Return where latency tables are kept: below XDG_CACHE_HOME, or ~/.cache where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concertina" / "latency"


def latency_model(
    module: nn.Module,
    inputs: Sequence[Tensor],
    space: Space,
    *,
    network: str,
    threads: int = 1,
    progress: Reporter | None = None,
) -> LatencyModel:
    """Return the latency model of a network on this machine: from the cache, or measured and kept there.

    A table that a busy machine left without clean samples is used with a warning and not kept.

    Args:
        module: The full network.
        inputs: What a call computes on, each (batch, ...).
        space: The dims.
        network: Fingerprint of the network.
        threads: Threads of the computation.
        progress: Told where the work stands, when there is any.
    """
    shapes = [f"{tensor.dtype}{tuple(tensor.shape)}" for tensor in inputs]
    dims = [(dim.name, dim.choices, dim.needs) for dim in space.dims]
    key = [FORMAT, machine_fingerprint(), versions(), network, dims, shapes, threads]
    path = cache_folder() / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
    known = _read(path, space)
    if known is not None:
        return known
    log.info("timing the layers of the network on this machine, once")
    model = measure_layers(module, inputs, space, threads=threads, progress=progress)
    if model.gated:
        _write(path, model)
    else:
        log.warning("this machine was too busy for a sound latency table: predicted latencies are rough")
    return model


def _read(path: Path, space: Space) -> LatencyModel | None:
    """Return the model that a file holds; None where there is none, or none that can be used."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        layers = [_layer_times(one) for one in held["layers"]]
        return LatencyModel(space, layers, Between(**held["between"]), error=float(held["error"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _layer_times(held: dict[str, Any]) -> LayerTimes:
    layer = Layer(held["layer"]["path"], tuple(held["layer"]["dims"]), tuple(held["layer"]["gates"]))
    return LayerTimes(layer, tuple(map(tuple, held["sizes"])), tuple(map(float, held["times_ms"])))


def _write(path: Path, model: LatencyModel) -> None:
    """Keep a model; a cache that cannot be written is no reason to stop."""
    content = {
        "layers": [asdict(times) for times in model.layers],
        "between": asdict(model.between),
        "error": model.error,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content))
    except OSError as error:
        log.warning("the latency table cannot be kept in '%s': %s", path.parent, error.strerror or error)
