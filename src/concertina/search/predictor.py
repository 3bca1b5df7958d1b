"""The predictor: a Gaussian process from a spec's choices to the metric, which also tells how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

ITERATIONS = 40
JITTER = 1e-5
LENGTH_SPREAD, SIGNAL_SPREAD, NOISE_SPREAD = 2.0, 1.0, 1.5
"""How far the logarithms of the hyperparameters stray from where they start, as standard deviations."""
NOISE = math.log(0.01)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A Gaussian process with a Matern 5/2 kernel that has a length for each dim.

    Source: Rasmussen and Williams 2006, Gaussian processes for machine learning.
    """

    numbers: Tensor
    """(trials, dims) specs as numbers."""
    targets: Tensor
    """(trials,) what is to be predicted, centred and scaled."""
    centre: float
    scale: float
    logs: Tensor
    """(dims + 2,) logarithms of the hyperparameters: lengths, signal, noise."""

    @staticmethod
    def learn(numbers: Floats, targets: Floats) -> Predictor:
        """Return a predictor fitted to what was measured.

        Args:
            numbers: (trials, dims) specs as numbers.
            targets: (trials,) what is to be predicted.
        """
        centre, scale = float(targets.mean()), max(float(targets.std()), 1e-9)
        inputs, outputs = torch.from_numpy(numbers), torch.from_numpy((targets - centre) / scale)
        return Predictor(inputs, outputs, centre, scale, _hyperparameters(inputs, outputs))

    def predict(self, numbers: Floats) -> tuple[Floats, Floats]:
        """Return (specs,) means and (specs,) standard deviations of the targets for (specs, dims) numbers."""
        factor, weights = self._solved
        between = _kernel(torch.from_numpy(numbers), self.numbers, self.logs)
        explained = torch.linalg.solve_triangular(factor, between.T, upper=False).square().sum(dim=0)
        spread = (self.logs[-2].exp() - explained).clamp_min(1e-9).sqrt()
        mean = (between @ weights)[:, 0]
        return (mean * self.scale + self.centre).numpy(), (spread * self.scale).numpy()

    def believe(self, numbers: Floats, target: float) -> Predictor:
        """Return a predictor that takes one more target as measured, its hyperparameters left as they are.

        Args:
            numbers: (dims,) the spec.
            target: What is believed of it.

        Source: the kriging believer, Ginsbourger et al. 2010 (10.1007/978-3-642-10701-6_6).
        """
        inputs = torch.cat([self.numbers, torch.from_numpy(numbers)[None]])
        outputs = torch.cat([self.targets, self.targets.new_tensor([(target - self.centre) / self.scale])])
        return replace(self, numbers=inputs, targets=outputs)

    @cached_property
    def _solved(self) -> tuple[Tensor, Tensor]:
        return _solved(self.numbers, self.targets, self.logs)


def _kernel(left: Tensor, right: Tensor, logs: Tensor) -> Tensor:
    """Return the (left, right) kernel of (left, dims) and (right, dims) numbers."""
    a, b = left / logs[:-2].exp(), right / logs[:-2].exp()
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    far = (5 * squares.clamp_min(1e-12)).sqrt()
    return logs[-2].exp() * (1 + far + far.square() / 3) * torch.exp(-far)


def _solved(numbers: Tensor, targets: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factor of the kernel of all trials, and the (trials, 1) weights of a mean."""
    kernel = _kernel(numbers, numbers, logs)
    factor = torch.linalg.cholesky(kernel + (logs[-1].exp() + JITTER) * torch.eye(len(numbers), dtype=kernel.dtype))
    return factor, torch.cholesky_solve(targets[:, None], factor)


def _hyperparameters(numbers: Tensor, targets: Tensor) -> Tensor:
    """Return the logarithms of the hyperparameters at the largest posterior found.

    Lengths start with the square root of the number of dims, so that ten dims and a hundred work alike.

    Source: the prior of Hvarfner et al. 2024, Vanilla Bayesian optimization (arXiv:2402.02229), made narrower.
    """
    dims = numbers.shape[1]
    start = numbers.new_zeros(dims + 2)
    start[:dims] = math.sqrt(2) - 1 + math.log(dims) / 2
    start[-1] = NOISE
    spreads = torch.full_like(start, LENGTH_SPREAD)
    spreads[-2], spreads[-1] = SIGNAL_SPREAD, NOISE_SPREAD
    logs = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [logs], lr=0.5, max_iter=ITERATIONS, tolerance_grad=1e-2, tolerance_change=1e-4, line_search_fn="strong_wolfe"
    )
    seen: list[tuple[float, Tensor]] = []

    def loss() -> Tensor:
        """Return the negative log posterior of the current settings, a scalar."""
        optimizer.zero_grad()
        factor, weights = _solved(numbers, targets, logs)
        misfit = 0.5 * (targets @ weights[:, 0]) + factor.diagonal().log().sum()
        total = misfit + ((logs - start) / spreads).square().sum() / 2
        total.backward()
        seen.append((total.item(), logs.detach().clone()))
        return total

    try:
        optimizer.step(loss)
    except RuntimeError:  # the kernel could not be factored
        seen.append((math.inf, start))
    return min(seen, key=lambda found: found[0])[1]
