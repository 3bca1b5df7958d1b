"""A randomised network that can be disturbed, run, and compared with what it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn

from concertina.analyse.events import Event, record
from concertina.analyse.layers import Wiring
from concertina.analyse.memo import Contents, Remembering, Tape
from concertina.analyse.randomise import has_statistics, random_inputs, randomised_copy, settle_statistics
from concertina.analyse.reach import steady_parameters, why_training_breaks
from concertina.analyse.sensitivity import slopes_of
from concertina.analyse.slicing import every_tensor, untied_copy
from concertina.errors import AnalysisError
from concertina.load.running import run_checked
from concertina.types import Core, Group

SAME = 1e-5
"""Largest relative error that counts as rounding."""
DIFFERENT = 1e-3
"""Smallest relative error that counts as a difference; what lies between is refused as unclear."""
NUDGE = 1e-10
"""Relative change of weights by which it is told how rough a network computes."""
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
        self.module, self.seed = module, seed
        self.wiring = Wiring.of(module)
        self.contents = Contents()
        self.contents.add(self.tensors)
        self._spare: dict[str, Tensor] = {}
        self.going_on: Callable[[float], None] = lambda _done: None
        """Told now and then which share of what is being verified is done."""
        self.try_out(inputs)

    def try_out(self, inputs: tuple[Tensor, ...]) -> None:
        """Take down what the network gives for its inputs."""
        self.inputs = inputs
        self._known, self._is_plain, self._is_exact = [Tape()], False, False
        self.outputs = self.run(into=self._known[0])
        with self.memory():
            self.events: list[Event] = record(self.module, inputs)
        """What every call of every module gives, in order."""
        self.slices: dict[tuple[Group, int], tuple[Tensor, Tape]] = {}
        """Outputs and tapes of the slices that were run last, by group and units kept."""
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
                if has_statistics(module):
                    with torch.no_grad():
                        run_checked(module, inputs, RANDOMISED, AnalysisError)
                    settle_statistics(module, inputs, generator)
                return Probe(module, inputs, seed)
            except AnalysisError as error:
                reasons.append(error)
        raise reasons[0]

    def on(self, inputs: tuple[Tensor, ...]) -> Probe:
        """Return a probe of the same randomised network, not a copy of it, on other inputs.

        Raises:
            AnalysisError: It does not run or gives something else than one finite tensor.
        """
        _ = self.untied_tensors  # so that both have one and the same
        other = copy.copy(self)
        for name in ("trains", "steady", "roughness", "slopes", "_factors"):
            vars(other).pop(name, None)
        other.try_out(inputs)
        return other

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
        if len(names) == len(dict(self.module.named_parameters())):
            return self.module
        untied = untied_copy(self.module)
        self.contents.add(every_tensor(untied), same_as=every_tensor(self.module))
        return untied

    @cached_property
    def untied_tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the untied network, by each of its names."""
        return every_tensor(self.untied)

    def spare(self, name: str) -> Tensor:
        """Return memory for a tensor of the untied network, the same at every call: fresh memory is slow to touch."""
        tensor = self.untied_tensors[name]
        spare = self._spare.get(name)
        if spare is None or spare.dtype != tensor.dtype:
            spare = self._spare[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return spare

    def spare_copy(self, name: str) -> Tensor:
        """Return a copy of a tensor of the untied network in its spare memory."""
        return self.spare(name).copy_(self.untied_tensors[name].detach())

    @cached_property
    def trains(self) -> bool:
        """Whether the whole network runs in train mode."""
        return not why_training_breaks(self.module, self.inputs)

    @cached_property
    def steady(self) -> frozenset[str]:
        """Names of the parameters that a run in train mode leaves as they are."""
        return steady_parameters(self.module, self.inputs) if self.trains else frozenset()

    @cached_property
    def roughness(self) -> float:
        """Error that a nudge far below single precision leads to: what is not far above it may be rounding."""
        generator = self.generator()
        nudged = {
            name: tensor.detach() * (1 + NUDGE * torch.randn(tensor.shape, generator=generator).to(tensor))
            for name, tensor in self.tensors.items()
            if tensor.is_floating_point() and tensor.dim() < 2
        }
        with self.plainly():
            return self.disturbed(nudged)[0]

    @cached_property
    def slopes(self) -> dict[str, Tensor]:
        """Derivative of a mixture of the outputs by each tensor, for those that have one; see `share_of`."""
        return slopes_of(self.module, self.inputs, self._factors)

    @cached_property
    def _factors(self) -> Tensor:
        return torch.randn(self.outputs.shape, generator=self.generator()).to(self.outputs)

    def share_of(self, change: float) -> float:
        """Return the least error that some output must have for the mixture of the outputs to change by so much."""
        return abs(change) / float(self._factors.abs().sum()) / self._scale

    def generator(self) -> torch.Generator:
        """Return a fresh source of randomness, the same at every call."""
        return torch.Generator().manual_seed(self.seed)

    def run(self, module: nn.Module | None = None, into: Tape | None = None) -> Tensor:
        """Return the outputs of the randomised network, or of another one on the same inputs.

        Args:
            module: A network that shares tensors with the probe's.
            into: A tape that takes down the operations.

        Raises:
            AnalysisError: It does not run or gives something else than one finite tensor.
        """
        with torch.no_grad(), self.memory(into):
            return run_checked(self.module if module is None else module, self.inputs, RANDOMISED, AnalysisError)

    def memory(self, into: Tape | None = None) -> AbstractContextManager[object]:
        """Return a context for one run, in which operations that were run before need not be run again."""
        return nullcontext() if self._is_plain else Remembering(self.contents, self._known, into, self._is_exact)

    @contextmanager
    def knowing(self, tape: Tape) -> Iterator[None]:
        """Within the context a tape is looked at before the others."""
        self._known.insert(0, tape)
        try:
            yield
        finally:
            self._known.remove(tape)

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Within the context, only operations whose inputs are equal to the last bit are not run again."""
        before, self._is_exact = self._is_exact, True
        try:
            yield
        finally:
            self._is_exact = before

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Within the context every operation is run."""
        before, self._is_plain = self._is_plain, True
        try:
            yield
        finally:
            self._is_plain = before

    def holding(self, values: Mapping[str, Tensor]) -> AbstractContextManager[dict[str, Tensor]]:
        """Return a context in which some tensors hold other values; it gives copies of what they held before."""
        return self.contents.replaced(self.tensors, values)

    def holding_untied(self, values: Mapping[str, Tensor]) -> AbstractContextManager[dict[str, Tensor]]:
        """Return a context in which some tensors of the untied network hold other values."""
        return self.contents.replaced(self.untied_tensors, values)

    def error(self, outputs: Tensor, expected: Tensor | None = None) -> float:
        """Return the largest difference from the probe's outputs (or from `expected`), relative to their spread."""
        expected = self.outputs if expected is None else expected
        if outputs.shape != expected.shape:
            return float("inf")
        return float((outputs - expected).abs().max()) / self._scale if outputs.numel() else 0.0

    def disturbed(self, values: Mapping[str, Tensor]) -> tuple[float, Tensor | None]:
        """Return the error and the outputs when some tensors hold other values; infinity and None when it breaks."""
        with self.holding(values):
            try:
                outputs = self.run()
            except AnalysisError:
                return float("inf"), None
        return self.error(outputs), outputs
