"""The Supernet: the sorted core, its growth order, and what each operating point keeps for itself."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor, nn

from concertina.axes import AXES
from concertina.errors import AnalysisError, BudgetError, InputError, SpecError
from concertina.nest.builder import build, subnet_tensors
from concertina.nest.growth import Costs, growth_order
from concertina.nest.order import named_tensors, permute
from concertina.types import Core, Graph, GrowthOrder, Point, Scores, Space, SubnetSpec

log = logging.getLogger("concertina")

NAME_HOLDS = 0.85
"""How much of the share asked for a point must reach to be called by it."""


@dataclass(eq=False)
class Supernet:
    """One sorted network, its growth order, and private tensors per operating point."""

    module: nn.Module
    """The network with units in falling importance; its tensors are the family's shared storage."""
    order: GrowthOrder
    costs: Costs
    permutations: Mapping[str, Tensor]
    """Group name -> (units,) long tensor that was applied to the core."""
    points: dict[str, Point] = field(default_factory=dict)
    """Operating points by name, smallest first."""
    private: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Point name -> tensor name -> tensor in the point's shape; the full point's is empty."""

    def __repr__(self) -> str:
        return f"Supernet({self.space!r}, {len(self.order)} steps, points: {', '.join(self.points) or 'none'})"

    @property
    def space(self) -> Space:
        """All dims."""
        return self.order.space

    def subnet(
        self, spec: SubnetSpec, private: Mapping[str, Tensor] | None = None, *, gradient: bool = False
    ) -> nn.Module:
        """Return the subnet of `spec` over the shared storage; see `nest.builder.build`."""
        return build(self.module, self.space, self.space.check(spec), private, gradient=gradient)

    def at_point(self, name: str, *, gradient: bool = False) -> nn.Module:
        """Return the subnet of an operating point with its private tensors."""
        return self.subnet(self.points[name].spec, self.private[name], gradient=gradient)

    def fresh_private(self, spec: SubnetSpec) -> dict[str, Tensor]:
        """Return copies of the normalisation tensors that `spec` has, cut from the shared ones.

        Parameters come back as leaves that can be trained, buffers as plain tensors.
        """
        shared = named_tensors(self.module)
        norms = {name: shared[name] for name in norm_tensors(self.module)}
        private: dict[str, Tensor] = {}
        for name, view in subnet_tensors(self.space, self.space.check(spec), norms).items():
            copied = view.detach().clone()
            private[name] = nn.Parameter(copied) if isinstance(shared[name], nn.Parameter) else copied
        return private

    def point(self, name: str, spec: SubnetSpec, position: int = -1) -> Point:
        """Return a point for `spec` with its costs worked out."""
        macs = self.costs.macs(spec)
        whole = self.costs.macs(self.space.full)
        return Point(name, spec, position, macs, self.costs.params(spec), self.costs.size_bytes(spec), macs / whole)

    def add(self, point: Point, private: dict[str, Tensor]) -> None:
        """Add an operating point and keep the points sorted by their MACs."""
        self.points[point.name] = point
        self.private[point.name] = private
        self.points = dict(sorted(self.points.items(), key=lambda item: (item[1].macs, item[0])))

    def to(self, device: str) -> None:
        """Move the shared and all private tensors to a device, in place."""
        self.module.to(device)
        for point, tensors in self.private.items():
            self.private[point] = {
                name: nn.Parameter(t.detach().to(device)) if isinstance(t, nn.Parameter) else t.to(device)
                for name, t in tensors.items()
            }

    def set_metrics(self, name: str, metrics: Mapping[str, float]) -> None:
        """Give a point its headline figures."""
        self.points[name] = self.points[name].with_metrics(metrics)


def nest(
    core: Core, graph: Graph, scores: Scores, costs_of: Callable[[nn.Module, tuple[Tensor, ...], Space], Costs]
) -> Supernet:
    """Sort the core and lay out its growth order; no operating point exists yet.

    Args:
        core: The network; it is copied, not changed.
        graph: Its verified groups and blocks.
        scores: Importance of units and blocks.
        costs_of: Gives the cost model for (module, example inputs, space).

    Raises:
        AnalysisError: Nothing in the network is elastic, or sorting changed what it computes.
    """
    axes = [AXES.get(name)() for name in AXES.names()]
    module = copy.deepcopy(core.module).eval()
    for axis in axes:
        axis.attach(module, graph)
    space = Space(tuple(dim for axis in axes for dim in axis.dims(graph)))
    if not space.dims:
        reasons = "; ".join(f"{group.name}: {group.rigid}" for group in graph.groups[:4])
        raise AnalysisError("nothing in this network is elastic", asked=reasons, do=_how_to_see_reasons(core))
    permutations = {name: order for axis in axes for name, order in axis.order(graph, scores).items()}
    permute(module, graph, permutations)
    _check_unchanged(core, module)
    costs = costs_of(module, core.example_inputs, space)
    return Supernet(module, growth_order(space, scores, permutations, costs), costs, permutations)


def choose_points(supernet: Supernet, shares: Sequence[float]) -> None:
    """Give a supernet one operating point per share of the core's MACs, with fresh private tensors.

    Each is the largest prefix of the growth order within its share. 1.0 is the full point, which has no private
    tensors: the shared ones are its own. It is always added. A point is called by the share asked for, unless the steps
    are so coarse that it falls more than 15% short of that: then by what it reaches, with a warning.

    Raises:
        InputError: The shares are no numbers in (0, 1], each once.
        BudgetError: A share is below the smallest subnet.
        SpecError: Two shares give the same subnet.
    """
    order, costs = supernet.order, supernet.costs
    whole = costs.macs(supernet.space.full)
    macs = _macs_along(order, costs)
    taken: dict[int, float] = {}
    for share in check_shares(shares):
        fitting = [position for position, cost in enumerate(macs) if cost <= share * whole + 0.5]
        if not fitting:
            raise BudgetError(
                "share of the core's MACs",
                asked=f"{share:g}",
                allowed=f"{macs[0] / whole:.4f} (smallest subnet) to 1",
            )
        position = max(fitting)
        if position in taken:
            raise SpecError(
                "two points are the same subnet", asked=f"shares {taken[position]:g} and {share:g}", do="Drop one."
            )
        taken[position] = share
        spec = order.spec(position)
        private = {} if position == len(order) else supernet.fresh_private(spec)
        name = _named(share, macs[position] / whole, supernet.points)
        supernet.add(supernet.point(name, spec, position), private)


def check_shares(shares: object) -> tuple[float, ...]:
    """Return operating points as rising shares of the core's MACs, 1.0 always among them.

    Raises:
        InputError: They are no sequence of numbers in (0, 1], or one is there twice.

    Example:
        >>> check_shares([0.5, 0.25])
        (0.25, 0.5, 1.0)
    """
    allowed = "shares of the core's MACs above 0 and up to 1, such as (0.25, 0.5, 1.0)"
    if isinstance(shares, str | bytes) or not isinstance(shares, Iterable):
        raise InputError("points", asked=repr(shares), allowed=allowed)
    found = list(shares)
    for share in found:
        if not isinstance(share, Real) or isinstance(share, bool) or not 0 < float(share) <= 1:
            raise InputError("points", asked=repr(share), allowed=allowed)
        if found.count(share) > 1:
            raise InputError("points", asked=f"{float(share):g} twice", allowed="each share once")
    return tuple(sorted({1.0, *map(float, found)}))


def point_name(share: float, taken: Collection[str]) -> str:
    """Return a name for a point by its share of the core's MACs, with as many digits as it takes to be a new one.

    Example:
        >>> point_name(0.4213, ()), point_name(0.4213, ("p42",))
        ('p42', 'p42.1')
    """
    names = (f"p{float(f'{100 * share:.{digits}g}'):g}" for digits in range(2, 7))
    return next((name for name in names if name not in taken), f"p{100 * share!r}")


def _named(asked: float, reached: float, taken: Collection[str]) -> str:
    if reached >= NAME_HOLDS * asked:
        return f"p{100 * asked:g}"
    name = point_name(reached, taken)
    log.warning(
        "no subnet lies between %.1f%% and %g%% of the MACs: the point asked for as %g is called %r",
        100 * reached,
        100 * asked,
        asked,
        name,
    )
    return name


def _macs_along(order: GrowthOrder, costs: Costs) -> list[int]:
    return [costs.macs(order.spec(position)) for position in range(len(order) + 1)]


def norm_tensors(module: nn.Module) -> tuple[str, ...]:
    """Return the names of all tensors of normalisation layers, batch counters left out."""
    names = named_tensors(module)
    found = []
    for path, layer in module.named_modules():
        if "norm" in type(layer).__name__.lower():
            own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
            found += [name for name, _ in ((f"{path}.{n}" if path else n, t) for n, t in own) if name in names]
    return tuple(found)


def _how_to_see_reasons(core: Core) -> str:
    """Return how to see why each group is rigid; the command line knows no network of a user's own."""
    if not core.source.startswith("module:"):
        return f"'concertina inspect {core.source}' tells all reasons."
    how = "from concertina.analyse import analyse; print(*((g.name, g.rigid) for g in analyse(core).groups), sep='\\n')"
    return f"All reasons, in Python: {how}"


def _check_unchanged(core: Core, module: nn.Module) -> None:
    with torch.no_grad():
        before = core.module(*core.example_inputs)
        after = module(*core.example_inputs)
    error = float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))
    if not error < 1e-4:
        raise AnalysisError(
            "sorting the units changed what the network computes", asked=f"relative error {error:.1e}", allowed="< 1e-4"
        )
