"""A randomised network that can be disturbed, run, and compared with what it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from concertina.analyse.events import Event, record
from concertina.analyse.layers import Wiring
from concertina.analyse.randomise import random_inputs, randomised_copy, settle_statistics
from concertina.analyse.reach import why_training_breaks
from concertina.analyse.slicing import untied_copy
from concertina.errors import AnalysisError
from concertina.load.running import run_checked
from concertina.types import Core, Group

SAME = 1e-5
"""Largest relative error that counts as rounding."""
DIFFERENT = 1e-3
"""Smallest relative error that counts as a difference; what lies between is refused as unclear."""
RANDOMISED = "the network with random weights"


class Probe:
    """The randomised copy of a network, its inputs and what it gives for them.

    Args:
        module: A randomised copy, in eval mode; from now on the probe alone uses it.
        inputs: What it is called with, (batch, ...) each, of its dtype.
        seed: Seed of whatever is drawn during verification.

    Raises:
        AnalysisError: It does not run or gives something else than one finite tensor.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], seed: int = 0) -> None:
        self.module, self.inputs, self.seed = module, inputs, seed
        self.wiring = Wiring.of(module)
        self.outputs = self.run()
        self.events: list[Event] = record(module, inputs)
        """What every call of every module gives, in order."""
        self.slices: dict[tuple[Group, int], Tensor] = {}
        """Outputs of slices that were run already, by group and units kept."""
        spread = float(self.outputs.max() - self.outputs.min()) if self.outputs.numel() else 0.0
        self._scale = spread or 1.0

    @staticmethod
    def of(core: Core, seed: int = 0) -> Probe:
        """Return a probe of a core, in float64 where the network runs in it, else in float32.

        Raises:
            AnalysisError: The network runs with random weights in neither.
        """
        reasons: list[AnalysisError] = []
        for dtype in (torch.float64, torch.float32):
            generator = torch.Generator().manual_seed(seed)
            module = randomised_copy(core.module, generator, dtype)
            inputs = random_inputs(core.example_inputs, generator, dtype)
            try:
                with torch.no_grad():
                    run_checked(module, inputs, RANDOMISED, AnalysisError)
                settle_statistics(module, inputs, generator)
                return Probe(module, inputs, seed)
            except AnalysisError as error:
                reasons.append(error)
        raise reasons[0]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every parameter and buffer once, by its first name."""
        return self.wiring.tensors

    @property
    def batch(self) -> int:
        """How many inputs there are in the batch."""
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].dim() else 1

    @cached_property
    def untied(self) -> nn.Module:
        """The same network with every tied tensor split up; the network itself where nothing is tied."""
        names = [name for name, _ in self.module.named_parameters(remove_duplicate=False)]
        is_tied = len(names) > len(dict(self.module.named_parameters()))
        return untied_copy(self.module) if is_tied else self.module

    @cached_property
    def untied_tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the untied network, by each of its names."""
        parameters: dict[str, Tensor] = dict(self.untied.named_parameters(remove_duplicate=False))
        return {**parameters, **dict(self.untied.named_buffers(remove_duplicate=False))}

    @cached_property
    def trains(self) -> bool:
        """Whether the whole network runs in train mode."""
        return not why_training_breaks(self.module, self.inputs)

    def generator(self) -> torch.Generator:
        """Return a fresh source of randomness, the same at every call."""
        return torch.Generator().manual_seed(self.seed)

    def run(self, module: nn.Module | None = None) -> Tensor:
        """Return the outputs of the randomised network, or of another one on the same inputs.

        Raises:
            AnalysisError: It does not run or gives something else than one finite tensor.
        """
        with torch.no_grad():
            return run_checked(self.module if module is None else module, self.inputs, RANDOMISED, AnalysisError)

    def error(self, outputs: Tensor, expected: Tensor | None = None) -> float:
        """Return the largest difference from the probe's outputs (or from `expected`), relative to their spread."""
        expected = self.outputs if expected is None else expected
        if outputs.shape != expected.shape:
            return float("inf")
        return float((outputs - expected).abs().max()) / self._scale if outputs.numel() else 0.0

    def disturbed(self, values: Mapping[str, Tensor]) -> tuple[float, Tensor | None]:
        """Return the error and the outputs when some tensors hold other values; infinity and None when it breaks."""
        with replaced(self.tensors, values):
            try:
                outputs = self.run()
            except AnalysisError:
                return float("inf"), None
        return self.error(outputs), outputs


@contextmanager
def replaced(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the context, some of `tensors` hold other values, of the same shapes; they are changed in place."""
    before = {name: tensors[name].detach().clone() for name in values}
    with torch.no_grad():
        try:
            for name, value in values.items():
                tensors[name].copy_(value)
            yield
        finally:
            for name, value in before.items():
                tensors[name].copy_(value)
