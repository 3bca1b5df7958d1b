"""How a session serves, what a request may ask, and what an answer tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor

from concertina.errors import InputError

LOWEST = 100
"""Lowest priority of a request; 1 is the highest."""
USUAL_PRIORITY = 10
"""Priority of a request that states none."""


@dataclass(frozen=True)
class Settings:
    """How a session serves."""

    runtime: str = "eager"
    """What computes: "eager" for torch itself, "onnx" or "openvino"."""
    threads: int | None = None
    """Threads of one call; as the runtime is set unless said."""
    max_batch: int = 16
    """Most inputs in one request, and in one call of the network."""
    queue_limit: int = 256
    """Most requests that may wait; more are refused."""
    copy_bytes: int = 256 * 1024 * 1024
    """Memory for copies of subnets that are asked for often; they compute faster than views. 0 for none."""
    floor: Sequence[str] = ()
    """Bounds that a point must meet to be chosen: ("accuracy>=0.9", "recall[cat]>=0.8"); by name any point answers."""
    latency_budget_ms: float | None = None
    """Budget of requests that state none."""
    measure_s: float = 2.0
    """Most seconds for measuring all points, once a batch size, when the session opens."""
    times_ms: Mapping[str, Mapping[int, float]] | None = None
    """Point -> inputs in one call -> milliseconds, where they are known; measured unless given."""
    modules: bool = True
    """Whether requests may name modules of the file."""

    def check(self) -> None:
        """Refuse settings out of range.

        Raises:
            InputError: The text names the setting.
        """
        wholes = {"max_batch": (self.max_batch, 1), "queue_limit": (self.queue_limit, 1)}
        wholes |= {"copy_bytes": (self.copy_bytes, 0), "threads": (1 if self.threads is None else self.threads, 1)}
        for name, (value, least) in wholes.items():
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**48:
                raise InputError(f"setting {name}", asked=repr(value), allowed=f"a whole number, {least} or more")
        check_amount("setting measure_s", self.measure_s)
        if self.latency_budget_ms is not None:
            check_amount("setting latency_budget_ms", self.latency_budget_ms)


class Request(TypedDict, total=False):
    """What a request may ask for, beside its inputs."""

    latency_budget_ms: float | None
    """Milliseconds from its arrival to its answer."""
    min_accuracy: float | None
    """The least measured accuracy of the point that answers."""
    subnet: str
    """Name of the point that answers; the policy chooses one unless said."""
    module: str
    """Names of modules to plug in, or "auto": the router chooses one for each sample."""
    priority: int
    """1 (highest) to 100; 10 unless said. Higher ones go first."""
    timeout_ms: float | None
    """Longest wait in the queue; afterwards there is no answer."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a subnet computed, and how that went."""

    outputs: tuple[Tensor, ...]
    """Each (samples, ...)."""
    point: str
    """Name of the point that computed it."""
    why: str
    """Why this point."""
    predicted_ms: float
    """What the policy expected of `total_ms`."""
    queue_ms: float
    """Measured wait in the queue."""
    compute_ms: float
    """Measured time of the call."""
    batch: int
    """Inputs of all requests that were computed in that call."""
    budget_ms: float | None = None
    """The request's budget; None for no hurry."""
    modules: tuple[str, ...] = ()
    """Where the router chose: the module of each sample, "__base__" for none."""

    @property
    def total_ms(self) -> float:
        """Measured milliseconds from the request's arrival to its answer."""
        return self.queue_ms + self.compute_ms

    @property
    def in_time(self) -> bool:
        """Whether it came within the budget; always, where there is none."""
        return self.budget_ms is None or self.total_ms <= self.budget_ms

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(output.shape)) for output in self.outputs)
        return f"Answer({shapes} by {self.point} in {self.total_ms:.3g} ms: {self.why})"


def check_request(request: Request) -> None:
    """Refuse what a request asks for when it is of no use.

    Raises:
        InputError: The text names the parameter.
    """
    for name in ("latency_budget_ms", "timeout_ms"):
        if request.get(name) is not None:
            check_amount(name, request[name])
    if (accuracy := request.get("min_accuracy")) is not None and not (_is_number(accuracy) and abs(accuracy) < 1e12):
        raise InputError("min_accuracy", asked=repr(accuracy), allowed="a number")
    priority = request.get("priority", USUAL_PRIORITY)
    if not isinstance(priority, int) or isinstance(priority, bool) or not 1 <= priority <= LOWEST:
        raise InputError("priority", asked=repr(priority)[:50], allowed=f"a whole number, 1 (highest) to {LOWEST}")
    for name in ("subnet", "module"):
        if not isinstance(request.get(name, ""), str):
            raise InputError(name, asked=repr(request[name])[:50], allowed="a name")  # type: ignore[literal-required]


def check_amount(what: str, value: object) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        InputError: The text says what of.
    """
    if not _is_number(value) or not 0 < value < 1e12:  # type: ignore[operator]
        raise InputError(what, asked=repr(value)[:50], allowed="a number above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
