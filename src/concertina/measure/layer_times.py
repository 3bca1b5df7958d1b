"""How long any subnet takes, from a table of its layers' times measured once on a machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from concertina.measure.latency import LatencyResult, latency, module_runner
from concertina.measure.layers import Layer, layer_samples, layers_of, sampled
from concertina.nest import build
from concertina.types import Space, SubnetSpec

CHECKED = 16
"""Whole subnets that are timed beside the layers, for what lies between layers and to see how far off the sum is."""
MIN_SAMPLES = 15
Reporter = Callable[[str, float], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of one layer at the sizes measured."""

    layer: Layer
    sizes: tuple[tuple[int, ...], ...]
    """Per dim of the layer: the choices measured."""
    times_ms: tuple[float, ...]
    """One for each combination, the last dim changing fastest."""

    def at_every_choice(self, space: Space) -> Floats:
        """Return milliseconds by the places of the dims' choices, interpolated between those measured."""
        table = np.array(self.times_ms).reshape([len(sizes) for sizes in self.sizes])
        for axis, (name, sizes) in enumerate(zip(self.layer.dims, self.sizes, strict=True)):
            lines = np.moveaxis(table, axis, -1)
            wanted = space.by_name[name].choices
            filled = [np.interp(wanted, sizes, line) for line in lines.reshape(-1, len(sizes))]
            table = np.moveaxis(np.array(filled).reshape(*lines.shape[:-1], len(wanted)), -1, axis)
        return table


@dataclass(frozen=True)
class Between:
    """What passes cost beside their layers: activations, additions, calls."""

    constant_ms: float
    per_layer: float
    """Factor on the sum of the layers' times."""
    per_block_ms: float
    """For each block that is there."""


class LatencyModel:
    """Predicts the latency of any subnet on the machine, batch and threads it was measured with.

    Args:
        space: The dims.
        layers: Times of all layers.
        between: What comes on top of them.
        error: Median relative error on whole subnets that were left out.
        gated: Whether all times rest on clean samples.

    Source: latency tables as in ProxylessNAS (arXiv:1812.00332); the rest is ours.
    """

    def __init__(
        self, space: Space, layers: Sequence[LayerTimes], between: Between, *, error: float = 0.0, gated: bool = True
    ) -> None:
        self.space, self.layers, self.between, self.error, self.gated = space, tuple(layers), between, error, gated
        self._tables = [(times.layer, times.at_every_choice(space)) for times in self.layers]
        self._places = {dim.name: {choice: i for i, choice in enumerate(dim.choices)} for dim in space.dims}
        self._gates = tuple(dim.name for dim in space.dims if dim.is_gate)

    def milliseconds(self, spec: SubnetSpec) -> float:
        """Return the predicted median milliseconds of one call of a canonical spec."""
        between = self.between
        blocks = sum(spec[gate] for gate in self._gates)
        return between.constant_ms + between.per_layer * self.layers_ms(spec) + between.per_block_ms * blocks

    def layers_ms(self, spec: SubnetSpec) -> float:
        """Return the sum of the times of the layers that a canonical spec has."""
        total = 0.0
        for layer, table in self._tables:
            if all(spec[gate] for gate in layer.gates):
                total += float(table[tuple(self._places[dim][spec[dim]] for dim in layer.dims)])
        return total


def measure_layers(
    module: nn.Module,
    inputs: Sequence[Tensor],
    space: Space,
    *,
    threads: int = 1,
    time_limit_s: float = 60.0,
    progress: Reporter | None = None,
) -> LatencyModel:
    """Time every layer in its sizes and some whole subnets, all by turns, and return what follows for any subnet.

    Args:
        module: The full network.
        inputs: What a call computes on, each (batch, ...).
        space: The dims.
        threads: Threads of the computation.
        time_limit_s: Seconds for the layers, and again for the whole subnets.
        progress: Told where the work stands.
    """
    tell = progress or (lambda _stage, _done: None)
    tell("timing layers", 0.0)
    layers = layers_of(module, space)
    samples = layer_samples(module, inputs, space, layers)
    runners = {sample.signature: sample.call for sample in samples.values()}
    batch = len(inputs[0]) if isinstance(inputs[0], Tensor) and inputs[0].dim() else 1
    timed = _timed(runners, threads, batch, time_limit_s)
    tell("timing layers", 0.5)
    tables = []
    for layer in layers:
        sizes = tuple(sampled(space.by_name[dim].choices) for dim in layer.dims)
        held = [samples.get((layer.path, combination)) for combination in product(*sizes)]
        if all(held):
            times = tuple(timed[one.signature].median_ms * one.calls for one in held if one)
            tables.append(LayerTimes(layer, sizes, times))
    specs = _whole_specs(space)
    whole = _timed(
        {spec.text: module_runner(build(module, space, spec), *inputs) for spec in specs}, threads, batch, time_limit_s
    )
    tell("timing layers", 1.0)
    clean = all(result.basis == "clean" and result.gated for result in (*timed.values(), *whole.values()))
    bare = LatencyModel(space, tables, Between(0.0, 1.0, 0.0))
    between, error = _fit(bare, specs, np.array([whole[spec.text].median_ms for spec in specs]))
    return LatencyModel(space, tables, between, error=error, gated=clean)


def _timed(
    runners: Mapping[str, Callable[[], object]], threads: int, batch: int, limit: float
) -> dict[str, LatencyResult]:
    if not runners:
        return {}
    return latency(runners, min_samples=MIN_SAMPLES, time_limit_s=limit, threads=threads, batch=batch)


def _whole_specs(space: Space) -> list[SubnetSpec]:
    """Return the full, the smallest and random specs of all sizes."""
    generator, found = random.Random(0), [space.full, space.smallest]
    for i in range(20 * CHECKED):
        if len(found) >= CHECKED:
            break
        level = (i % CHECKED) / CHECKED
        chosen = {}
        for dim in space.dims:
            place = min(1.0, max(0.0, generator.gauss(level, 0.25)))
            chosen[dim.name] = dim.choices[round(place * (len(dim.choices) - 1))]
        spec = space.check(SubnetSpec.of(chosen))
        if spec not in found:
            found.append(spec)
    return found


def _fit(bare: LatencyModel, specs: Sequence[SubnetSpec], measured: Floats) -> tuple[Between, float]:
    """Return what lies between the layers, and the median relative error on specs left out of the fit."""
    gates = [dim.name for dim in bare.space.dims if dim.is_gate]
    columns = np.array([[1.0, bare.layers_ms(spec), sum(spec[gate] for gate in gates)] for spec in specs])
    errors = []
    for left_out in range(len(specs)):
        kept = np.arange(len(specs)) != left_out
        if kept.any():
            guess = columns[left_out] @ _least_squares(columns[kept], measured[kept])
            errors.append(abs(guess - measured[left_out]) / measured[left_out])
    return Between(*map(float, _least_squares(columns, measured))), float(np.median(errors)) if errors else 0.0


def _least_squares(columns: Floats, measured: Floats) -> Floats:
    """Return the weights of the columns, none below 0, with the least relative errors."""
    free = [place for place in range(columns.shape[1]) if columns[:, place].any()]
    while True:
        weights = np.zeros(columns.shape[1])
        scaled = columns[:, free] / measured[:, None]
        weights[free] = np.linalg.lstsq(scaled, np.ones(len(measured)), rcond=None)[0]
        negative = [place for place in free if weights[place] < 0]
        if not negative or len(free) == 1:
            return np.maximum(weights, 0.0)
        free.remove(min(negative, key=lambda place: weights[place]))
