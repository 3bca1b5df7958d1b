"""The contract of an axis, as checks that anyone can run over their own axis or network.

Every check takes a `Subject` and the name of an axis, and raises `ContractError` when the promise does not hold.

Example:
    >>> import concertina as ct
    >>> subject = make_subject(ct.load("zoo:mlp"))
    >>> CHECKS["spec-text-spec"](subject, "width")
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from concertina.analyse import analyse
from concertina.axes import AXES
from concertina.errors import PointError
from concertina.family import Family
from concertina.family import open as open_family
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, choose_points, named_tensors, nest, permute, subnet_shares, subnet_tensors
from concertina.objective.base import TASKS
from concertina.score import score
from concertina.types import Core, Graph, Scores, SubnetSpec

NUM_SPECS = 5
NUM_THREADS = 8


class ContractError(AssertionError):
    """A promise of the contract does not hold; the text says which and where."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network made into an untrained family, for checking."""

    core: Core
    graph: Graph
    scores: Scores
    supernet: Supernet

    def inputs(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Return inputs like the core's example inputs, other values for another seed."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randn(x.shape, generator=generator, dtype=x.dtype) if x.is_floating_point() else x
            for x in self.core.example_inputs
        )

    def specs(self, axis: str, count: int = NUM_SPECS) -> list[SubnetSpec]:
        """Return the smallest and random specs that differ from the full one in the dims of `axis` only."""
        space, generator = self.supernet.space, torch.Generator().manual_seed(len(axis))
        dims = [dim for dim in space.dims if dim.axis == axis]
        floor = {dim.name: dim.choices[0] for dim in dims}
        drawn = [
            {dim.name: dim.choices[int(torch.randint(len(dim.choices), (1,), generator=generator))] for dim in dims}
            for _ in range(count - 1)
        ]
        return [space.check(SubnetSpec.of({**dict(space.full.choices), **choices})) for choices in (floor, *drawn)]


def make_subject(core: Core, *, criterion: str = "magnitude-l2") -> Subject:
    """Return `core` as an untrained family with points at about a third, two thirds and all of the MACs."""
    graph = analyse(core)
    scores = score(core, graph, TASKS.get(core.task)(core.class_names, core.preprocess), [], criterion=criterion)  # type: ignore[call-arg]
    supernet = nest(core, graph, scores, CostModel.of)
    smallest = supernet.costs.macs(supernet.space.smallest) / supernet.costs.macs(supernet.space.full)
    choose_points(supernet, (smallest + (1 - smallest) / 3, smallest + (1 - smallest) * 2 / 3, 1.0))
    return Subject(core, graph, scores, supernet)


def full_is_core(subject: Subject, axis: str) -> None:
    """The full spec computes what the core computes, before any training."""
    inputs = subject.inputs()
    full = subject.supernet.subnet(subject.supernet.space.full)
    _same(_run(full, inputs), _run(subject.core.module, inputs), 1e-5, f"{axis}: full subnet and core")


def view_is_extract(subject: Subject, axis: str) -> None:
    """A view computes what its materialised copy computes, to 1e-6, with the same state dict."""
    inputs = subject.inputs()
    for spec in subject.specs(axis):
        view = subject.supernet.subnet(spec)
        free = view.materialize()  # type: ignore[operator]
        _same(_run(view, inputs), _run(free, inputs), 1e-6, f"{axis}: view and copy of {spec.digest}")
        _require(view.state_dict().keys() == free.state_dict().keys(), f"{axis}: keys of view and copy differ")
        shared = {t.untyped_storage().data_ptr() for t in named_tensors(subject.supernet.module).values()}
        held = {n: t for n, t in named_tensors(view).items() if t.numel() and n not in subject.supernet.space.in_runs}
        own = [name for name, tensor in held.items() if tensor.untyped_storage().data_ptr() not in shared]
        _require(not own, f"{axis}: tensors of a view with storage of their own: {own[:3]}")


def smaller_is_prefix(subject: Subject, axis: str) -> None:
    """Every tensor of a smaller spec is a prefix of the same tensor of the full one."""
    tensors = {name: t.detach() for name, t in named_tensors(subject.supernet.module).items()}
    for spec in subject.specs(axis):
        shares = subnet_shares(subject.supernet.space, spec, tensors)
        for name, small in subnet_tensors(subject.supernet.space, spec, tensors).items():
            corner = shares[name].read()
            _require(torch.equal(small, corner), f"{axis}: {name} of {spec.digest} is no prefix")
    order = subject.supernet.order
    for position in range(len(order)):
        grown = subject.supernet.space.covers(order.spec(position + 1), order.spec(position))
        _require(grown, f"{axis}: position {position} is not inside the next")


def order_is_permutation(subject: Subject, axis: str) -> None:
    """Each group's order is a permutation of its units, in falling importance."""
    for name, order in AXES.get(axis)().order(subject.graph, subject.scores).items():
        _require(sorted(order.tolist()) == list(range(len(order))), f"{axis}: order of {name} is no permutation")
        sorted_scores = subject.scores.units[name][order]
        _require(bool((sorted_scores[1:] <= sorted_scores[:-1]).all()), f"{axis}: order of {name} does not fall")


def order_is_idempotent(subject: Subject, axis: str) -> None:
    """Sorting what is sorted already changes nothing."""
    part = AXES.get(axis)()
    orders = part.order(subject.graph, subject.scores)
    again = Scores(
        subject.scores.criterion,
        {name: subject.scores.units[name][order] for name, order in orders.items()},
        subject.scores.blocks,
        subject.scores.is_loss,
    )
    for name, order in part.order(subject.graph, again).items():
        _require(order.tolist() == list(range(len(order))), f"{axis}: sorting {name} twice moves units")


def order_keeps_function(subject: Subject, axis: str) -> None:
    """Sorting leaves the function unchanged, to 1e-5."""
    inputs = subject.inputs(1)
    module = copy.deepcopy(subject.core.module)
    permute(module, subject.graph, AXES.get(axis)().order(subject.graph, subject.scores))
    _same(_run(module, inputs), _run(subject.core.module, inputs), 1e-5, f"{axis}: sorted and unsorted core")


def cost_falls(subject: Subject, axis: str) -> None:
    """MACs, parameters and bytes never rise when a dim shrinks, and something falls."""
    costs, space = subject.supernet.costs, subject.supernet.space
    for dim in (dim for dim in space.dims if dim.axis == axis):
        specs = [space.check(space.full.with_choice(dim.name, choice)) for choice in dim.choices]
        for measure in (costs.macs, costs.params, costs.size_bytes):
            figures = [measure(spec) for spec in specs]
            _require(figures == sorted(figures), f"{dim.name}: {measure.__name__} rises as it shrinks")
        if len(specs) > 1:
            _require(costs.params(specs[0]) < costs.params(specs[-1]), f"{dim.name}: shrinking it saves nothing")


def spec_text_spec(subject: Subject, axis: str) -> None:
    """A spec survives being written as text and read again."""
    for spec in subject.specs(axis):
        _require(SubnetSpec.parse(spec.text) == spec, f"{axis}: {spec.text} does not survive")


def save_load_same_outputs(subject: Subject, axis: str) -> None:
    """After saving and opening, each point computes the same bits, and so does each spec under its own tensors."""
    inputs = subject.inputs()
    family = Family(subject.core, subject.supernet, graph=subject.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "family.concertina"
        family.save(path)
        opened = open_family(path, module=None if subject.core.source.startswith("zoo:") else subject.core.module)
    for point in family.points:
        same = torch.equal(_run(family.view(point.name), inputs), _run(opened.view(point.name), inputs))
        _require(same, f"{axis}: point {point.name} changed by saving")
    for spec in subject.specs(axis):
        same = torch.equal(_run(subject.supernet.subnet(spec), inputs), _run(opened.supernet.subnet(spec), inputs))
        _require(same, f"{axis}: spec {spec.digest} changed by saving")


def use_leaves_no_trace(subject: Subject, axis: str) -> None:
    """Building and running subnets leaves the family's keys, shapes, values and mode as they were."""
    module = subject.supernet.module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [layer.training for layer in module.modules()]
    for spec in subject.specs(axis):
        view = subject.supernet.subnet(spec)
        declared = _sizes(view)
        _run(view, subject.inputs())
        _require(_sizes(view) == declared, f"{axis}: running {spec.digest} changed declared sizes")
    after = module.state_dict()
    _require(list(before) == list(after), f"{axis}: keys changed")
    _require(all(torch.equal(before[name], after[name]) for name in before), f"{axis}: values changed")
    _require(modes == [layer.training for layer in module.modules()], f"{axis}: mode changed")


def gradient_zero_outside(subject: Subject, axis: str) -> None:
    """Training a subnet gives the shared weights its gradient inside the slice and zero outside."""
    supernet = subject.supernet
    for spec in subject.specs(axis):
        supernet.module.zero_grad(set_to_none=True)
        _sum(supernet.subnet(spec, gradient=True).eval()(*subject.inputs())).backward()
        free = supernet.subnet(spec).materialize()  # type: ignore[operator]
        _sum(free(*subject.inputs())).backward()
        inside = {name: p.grad for name, p in free.named_parameters() if p.grad is not None}
        for name, parameter in supernet.module.named_parameters():
            grad, expected = parameter.grad, torch.zeros_like(parameter, requires_grad=False)
            if name in inside:
                subnet_shares(supernet.space, spec, {name: expected})[name].add(inside[name])
            found = torch.zeros_like(parameter) if grad is None else grad
            _same(found, expected, 1e-5, f"{axis}: gradient of {name} in {spec.digest}")
    supernet.module.zero_grad(set_to_none=True)


def threads_agree(subject: Subject, axis: str) -> None:
    """Eight threads on eight subnets answer as one thread does."""
    inputs = subject.inputs()
    specs = [*subject.specs(axis), *subject.specs(axis)][:NUM_THREADS]
    views = [subject.supernet.subnet(spec) for spec in specs]
    alone = [_run(view, inputs) for view in views]

    def work(index: int) -> bool:
        """Return whether a view gives the same from this thread, again and again."""
        view = views[index % len(views)]
        return all(torch.equal(_run(view, inputs), alone[index % len(views)]) for _ in range(5))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        good = list(pool.map(work, range(NUM_THREADS)))
    _require(all(good), f"{axis}: {good.count(False)} of {NUM_THREADS} threads got another answer")


def axes_compose(subject: Subject, axis: str) -> None:
    """Specs that use this axis together with each other axis run and equal their copies."""
    space = subject.supernet.space
    for other in sorted({dim.axis for dim in space.dims} - {axis}):
        for mine, theirs in zip(subject.specs(axis), subject.specs(other), strict=True):
            picks = {n: c for n, c in mine.choices if space.by_name[n].axis == axis}
            spec = space.check(SubnetSpec.of({**dict(theirs.choices), **picks}))
            view = subject.supernet.subnet(spec)
            free = view.materialize()  # type: ignore[operator]
            _same(
                _run(view, subject.inputs()), _run(free, subject.inputs()), 1e-6, f"{axis} with {other}: {spec.digest}"
            )


def no_off_point_answer(subject: Subject, axis: str) -> None:
    """A spec that is no operating point is refused by name when there is no data to calibrate it."""
    family = Family(subject.core, subject.supernet, graph=subject.graph)
    points = {point.spec for point in family.points}
    for spec in subject.specs(axis):
        if spec in points:
            continue
        try:
            family.at(spec)
        except PointError:
            continue
        raise ContractError(f"{axis}: {spec.digest} was answered without calibration")


CHECKS: dict[str, Callable[[Subject, str], None]] = {
    "full-is-core": full_is_core,
    "view-is-extract": view_is_extract,
    "smaller-is-prefix": smaller_is_prefix,
    "order-is-permutation": order_is_permutation,
    "order-is-idempotent": order_is_idempotent,
    "order-keeps-function": order_keeps_function,
    "cost-falls": cost_falls,
    "spec-text-spec": spec_text_spec,
    "save-load-same-outputs": save_load_same_outputs,
    "use-leaves-no-trace": use_leaves_no_trace,
    "gradient-zero-outside": gradient_zero_outside,
    "threads-agree": threads_agree,
    "axes-compose": axes_compose,
    "no-off-point-answer": no_off_point_answer,
}
"""Every check by name."""


def _run(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        return module(*inputs)


def _sum(outputs: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1.5, outputs.numel()).reshape(outputs.shape)
    return (outputs * weights).sum()


def _sizes(module: nn.Module) -> list[tuple[str, int]]:
    return [
        (f"{path}.{key}", value)
        for path, layer in module.named_modules()
        for key, value in vars(layer).items()
        if isinstance(value, int)
    ]


def _same(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    error = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    _require(found.shape == expected.shape and error <= tolerance, f"{what} differ by {error:.1e}")


def _require(good: bool, what: str) -> None:
    if not good:
        raise ContractError(what)
