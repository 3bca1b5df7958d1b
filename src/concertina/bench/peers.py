"""What one would have instead of a point: networks of its MACs that were cut, and trained by themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from concertina.bench.base import Job, Study, Tuning
from concertina.family import Family
from concertina.family.alone import Training, trained_alone
from concertina.family.rivals import NAIVE, UNTUNED
from concertina.measure.baselines import naive_slice, torch_pruning_cut
from concertina.train import Reporter
from concertina.types import Core, Point

EQUAL_EPOCHS = "Torch-Pruning, tuned alone, equal epochs"
EQUAL_COST = "Torch-Pruning, tuned alone, equal training MACs"
PEERS = (NAIVE, UNTUNED, EQUAL_EPOCHS, EQUAL_COST)


@dataclass(frozen=True, eq=False)
class Peer:
    """A network that stands beside a point."""

    who: str
    module: nn.Module
    macs: int
    training_macs: int = 0
    """What its own training cost, backward and teacher passes included."""


def peers_of(job: Job, study: Study, point: Point) -> Iterator[Peer]:
    """Yield the rivals of a point of the first subject; each starts from a cut of its own.

    Args:
        job: The subject, and how much effort is wanted.
        study: What rivals are cut from and trained on.
        point: The point. The full one is sliced only: nothing is cut from it.
    """
    family = job.subjects[0].family
    if study.core is not None:
        yield Peer(NAIVE, naive_slice(study.core, family.supernet.space, point.spec), point.macs)
    cut = None if _is_full(family, point) else torch_pruning_cut(study.base, study.graph, point.macs)
    if cut is None:
        return
    yield Peer(UNTUNED, *cut)
    if study.tuning is not None:
        yield from _tuned(job, study.base, study.tuning, cut)


def spent(family: Family) -> float | None:
    """Return the MACs that a family's training took, rehearsal and teacher included; None where it does not say."""
    facts = family.evidence.provenance
    try:
        return float(facts["training MACs"]) + float(facts.get("rehearsal MACs", 0))
    except (KeyError, ValueError):
        return None


def _is_full(family: Family, point: Point) -> bool:
    return point.macs == family.points[-1].macs


def _tuned(job: Job, core: Core, tuning: Tuning, cut: tuple[nn.Module, int]) -> Iterator[Peer]:
    """Yield a cut network trained by itself: for the epochs of the family, and for its share of the family's cost."""
    family, settings = job.subjects[0].family, tuning.settings
    teacher = family.points[-1].macs if settings.full_from_core else 0
    for_each = (spent(family) or 0.0) / max(1, len(family.points) - 1)
    equal = for_each / (len(tuning.train) * (3 * cut[1] + teacher))
    for who, epochs in ((EQUAL_EPOCHS, settings.epochs), (EQUAL_COST, equal)):
        training = Training(tuning.train, family.task, replace(settings, epochs=epochs))
        alone = trained_alone(copy.deepcopy(cut[0]), core, training, progress=_of_a_rival(job.tell, cut[1]))
        yield Peer(who, alone.module, cut[1], alone.training_macs)


def _of_a_rival(tell: Reporter, macs: int) -> Reporter:
    """Return a reporter for the training of one rival; its remarks are not passed on."""

    def report(stage: str, done: float) -> None:
        """Pass on how far the training of a rival is."""
        if stage.startswith("training"):
            tell(f"training a rival of {macs:,} MACs", min(done, 0.99))

    return report
