"""Scores by class: how important every unit is for the samples of each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from concertina.errors import InputError
from concertina.objective.base import Task
from concertina.score.base import CRITERIA, score
from concertina.types import ClassScores, Core, Graph


def check_by_class(criterion: str) -> None:
    """Refuse a criterion that has no scores by class, because it looks at no samples.

    Raises:
        UnknownNameError: No such criterion.
        InputError: It reads no data; the text names those that do.
    """
    if not CRITERIA.get(criterion).needs_data:
        able = ", ".join(name for name in CRITERIA.names() if CRITERIA.get(name).needs_data)
        raise InputError("criterion for scores by class", asked=f"{criterion!r}, which reads no data", allowed=able)


def score_classes(
    core: Core,
    graph: Graph,
    task: Task,
    samples: Mapping[str, Sequence[Sequence[Tensor]]],
    *,
    criterion: str,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> ClassScores:
    """Rate all units and blocks once for every class, on samples of that class alone.

    Criteria whose scores are rises of the loss keep their size, so that classes compare. Of others each class gets one
    vote: its scores are shares of a group, which sum to 1.

    Args:
        core: The network.
        graph: Its verified groups and blocks.
        task: Gives inputs and loss.
        samples: Class name -> batches of samples of that class.
        criterion: Name in `CRITERIA`, of one that reads data.
        seed: Seed of the generator that the criterion gets.
        progress: Told now and then where it stands.

    Raises:
        UnknownNameError: No such criterion.
        InputError: The criterion reads no data.
        AnalysisError: A score is not finite.
    """
    check_by_class(criterion)
    rated = []
    for done, batches in enumerate(samples.values()):
        if progress is not None:
            progress("rating channels by class", done / len(samples))
        rated.append(score(core, graph, task, batches, criterion=criterion, seed=seed))
    is_loss = rated[0].is_loss
    units = {name: torch.stack([one.units[name].detach().float().cpu() for one in rated]) for name in rated[0].units}
    if not is_loss:
        units = {name: rows / rows.sum(1, keepdim=True).clamp_min(1e-30) for name, rows in units.items()}
    blocks = {path: torch.tensor([one.blocks[path] for one in rated]) for path in rated[0].blocks}
    most = max(sum(len(batch[-1]) for batch in batches) for batches in samples.values())
    return ClassScores(criterion, tuple(samples), units, blocks, is_loss, most)
