"""Which growth order a family gets, and what its steps are priced by; one order for all processes of a run."""

from __future__ import annotations

from dataclasses import replace

import torch

from concertina.family.options import FitOptions
from concertina.load.data import TensorData
from concertina.measure.price import latency_price
from concertina.measure.time_cache import latency_model
from concertina.nest import Price, Supernet, growth_order
from concertina.objective.base import Task
from concertina.train import REHEARSE_FROM, Ranks, Reporter, TrainSettings, num_steps, rehearsed_order
from concertina.types import Core, GrowthOrder, Scores


def agreed_scores(scores: Scores) -> Scores:
    """Return the scores of the first of several processes, so that the last bit of a sum decides nothing.

    Raises:
        TrainingError: The processes do not rate the same groups and blocks.
        RankError: Another process failed.
    """
    ranks = Ranks.here()
    sizes = {name: len(units) for name, units in scores.units.items()}
    ranks.agree("what is elastic", sizes | dict.fromkeys(scores.blocks, "block"))
    units = {name: values.clone() for name, values in scores.units.items()}
    blocks = torch.tensor(list(scores.blocks.values()), dtype=torch.float64)
    ranks.hand_out([*units.values(), blocks])
    return replace(scores, units=units, blocks=dict(zip(scores.blocks, blocks.tolist(), strict=True)))


def put_in_order(
    supernet: Supernet,
    core: Core,
    scores: Scores,
    lessons: tuple[Task, TensorData, TrainSettings],
    options: FitOptions,
    progress: Reporter | None,
) -> dict[str, str]:
    """Give a supernet the growth order asked for, in place of the one by scores and MACs that it has.

    Of several processes the first finds it and tells the others: clocks and rounding differ.

    Args:
        supernet: Sorted; it has no points yet.
        core: What it was made from.
        scores: Importance of units and blocks.
        lessons: What a rehearsal needs.
        options: Name the order and what steps are priced by.
        progress: Told now and then where it stands.

    Returns:
        How the order came about, for the provenance.
    """

    def found() -> tuple[list[int], dict[str, str]]:
        """Return the steps and the facts of the order, found here."""
        facts = _put_in_order(supernet, core, scores, lessons, options, progress)
        return list(supernet.order.steps), facts

    steps, facts = Ranks.here().told(found)
    supernet.order = GrowthOrder(supernet.space, tuple(steps))
    return dict(facts)


def _put_in_order(
    supernet: Supernet,
    core: Core,
    scores: Scores,
    lessons: tuple[Task, TensorData, TrainSettings],
    options: FitOptions,
    progress: Reporter | None,
) -> dict[str, str]:
    task, data, settings = lessons
    facts = {"order": options.get("order") or _default_order(data, settings)}
    price = None
    if options.get("worth", "macs") == "latency":
        price, facts["worth"] = _latency_price(supernet, core, progress)
        supernet.order = growth_order(supernet.space, scores, supernet.permutations, supernet.costs, price)
    if facts["order"] == "rehearsed":
        rehearsals = options.get("rehearsals", 1)
        found = rehearsed_order(supernet, task, data, settings, progress, price, rehearsals=rehearsals)
        supernet.order = found.order
        facts["rehearsal MACs"] = str(found.macs_spent)
        facts |= {"rehearsals": str(rehearsals)} if rehearsals > 1 else {}
    return facts


def _default_order(data: TensorData, settings: TrainSettings) -> str:
    return "rehearsed" if settings.epochs > 0 and num_steps(data, settings) >= REHEARSE_FROM else "criterion"


def _latency_price(supernet: Supernet, core: Core, progress: Reporter | None) -> tuple[Price, str]:
    """Return the price by latency on this machine, and what it rests on in words."""
    inputs = [tensor[:1].contiguous() for tensor in core.example_inputs]
    model = latency_model(supernet.module, inputs, supernet.space, network=core.fingerprint, progress=progress)
    return latency_price(model, supernet.costs), f"latency of one input on one thread, known to {model.error:.0%}"
