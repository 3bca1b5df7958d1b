"""Audits of a family: every point against the core, on data that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import torch

from concertina.audits import AUDITS, Reference
from concertina.errors import DataError, InputError, UnknownNameError, did_you_mean
from concertina.family.evidence import CORE, Measurable, core_predictions_on
from concertina.family.finish import comparable
from concertina.family.held_out import BATCH, answered, check_classifier, chosen, class_place, held_out, keep
from concertina.load.data import TensorData, batches
from concertina.measure.answers import Answers, answers
from concertina.measure.bounds import Bound
from concertina.measure.machine import versions
from concertina.objective.intervals import wilson
from concertina.train import Reporter
from concertina.types import Core, Record

KINDS: tuple[Literal["core", "full"], ...] = ("core", "full")


class AuditOptions(TypedDict, total=False):
    """Options of `Family.audit`."""

    audits: Sequence[str]
    """Names of the audits: "recall", "calibration", "churn", "auc", "confusion"; all unless said."""
    bounds: Sequence[str]
    """What must hold at every point: "recall[cat]>=0.8", "ece<=0.05"; the measured value counts, not its interval."""
    points: Sequence[str]
    """Names of the points; all unless said."""
    core: Core | None
    """The core as loaded, to compare with. Without it, points are compared with what is known of the core on this data,
    or else with the full point."""
    progress: Reporter | None
    """Told now and then where the work stands."""


@dataclass(frozen=True)
class Checked:
    """One stated bound at one point."""

    bound: str
    """As it was stated: "recall[cat]>=0.8"."""
    point: str
    record: Record
    """The figure it speaks of."""
    met: bool


@dataclass(frozen=True)
class Audited:
    """What audits found."""

    records: tuple[Record, ...]
    """All figures, point by point."""
    checked: tuple[Checked, ...]
    """Every stated bound at every point that has its figure."""
    reference: Literal["core", "full"]
    """What points were compared with: the core, or the full point where the core's answers are not known."""

    @property
    def unmet(self) -> tuple[Checked, ...]:
        """The stated bounds that are not met."""
        return tuple(one for one in self.checked if not one.met)


def audit_family(
    family: Measurable,
    source: Any,
    *,
    audits: Sequence[str] = (),
    bounds: Sequence[str] = (),
    points: Sequence[str] = (),
    core: Core | None = None,
    progress: Reporter | None = None,
) -> Audited:
    """Audit points, keep the Records and return them; see `Family.audit`."""
    check_classifier(family)
    stated = check_bounds(bounds, audits, family.core.class_names)
    check_core(family, core)
    data, wanted = held_out(family, source), chosen(family, points)
    rules = [AUDITS.get(name)() for name in audits or AUDITS.names()]
    reference, of_core = _reference(family, core, data)
    _check_reference(stated, reference)
    told = [] if of_core is None else [of_core]
    found = [_accuracy(answer) for answer in told]
    for answer in (*told, *answered(family, data, wanted, "auditing", progress)):
        _check_present(stated, answer)
        found += [record for rule in rules for record in rule.records(answer, reference)]
    found = [replace(record, data=data.fingerprint, versions=versions()) for record in found]
    keep(family, found, data)
    if of_core is not None:
        family.evidence = replace(family.evidence, core_predictions=tuple(of_core.predictions.tolist()))
    called = {point.spec.text: point.name for point in wanted}
    checked = [
        Checked(str(bound), called[record.spec], record, bound.meets(record))
        for bound in stated
        for record in bound.of(found)
        if record.spec in called
    ]
    return Audited(tuple(found), tuple(checked), reference.kind)


def check_bounds(bounds: Sequence[str], audits: Sequence[str], class_names: Sequence[str]) -> list[Bound]:
    """Return stated bounds as values.

    Args:
        bounds: Texts such as "recall[cat]>=0.8".
        audits: Names of the audits that will run; all where there is none.
        class_names: Names of the family's classes.

    Raises:
        InputError: A text is no bound, or speaks of a class where the figure has none, or the other way round.
        UnknownNameError: No such audit, class, or figure of these audits.
    """
    known = {
        metric.replace("REFERENCE", kind)
        for name in audits or AUDITS.names()
        for metric in AUDITS.get(name).metrics
        for kind in KINDS
    }
    stated = [Bound.read(text) for text in ((bounds,) if isinstance(bounds, str) else bounds)]
    for bound in stated:
        if bound.metric not in known:
            do = did_you_mean(bound.metric, known)
            raise UnknownNameError(
                "unknown figure in a bound", asked=str(bound), allowed=", ".join(sorted(known)), do=do
            )
        if bound.metric == "confused":
            raise InputError(
                "bound", asked=str(bound), allowed="any figure but confused", do="Bound the recall instead."
            )
        by_class = bound.metric in ("recall", "auc") or bound.metric.startswith("recall_minus")
        if by_class != bool(bound.scope):
            allowed = f"{bound.metric}[CLASS]" if by_class else bound.metric
            raise InputError("bound", asked=str(bound), allowed=f"{allowed} with a limit")
        if bound.scope and class_names:
            class_place(bound.scope, class_names, "a bound")
    return stated


def check_core(family: Measurable, core: Core | None) -> None:
    """Refuse a core that is not the one the family was made from.

    Raises:
        InputError: Its fingerprint is another, or it answers in other classes.
    """
    if core is not None:
        comparable(family, core)
    if core is not None and core.fingerprint != family.core.fingerprint:
        raise InputError(
            "core to compare with",
            asked=f"another network ({core.fingerprint[:12]})",
            allowed=f"the one that the family was made from ({family.core.fingerprint[:12]})",
            do="Give its weights too.",
        )


def _reference(family: Measurable, core: Core | None, data: TensorData) -> tuple[Reference, Answers | None]:
    """Return what points are compared with, and the core's own answers where it was given."""
    if core is not None:
        names = family.core.class_names
        own = answers(comparable(family, core).module, family.task, batches(data, BATCH), spec=CORE, class_names=names)
        return Reference("core", CORE, own.predictions), own
    known = core_predictions_on(family, data)
    if known is not None:
        return Reference("core", CORE, torch.tensor(known)), None
    largest = max(family.points, key=lambda point: point.macs)
    (full,) = answered(family, data, [largest], "auditing")
    return Reference("full", full.spec, full.predictions), None


def _accuracy(answer: Answers) -> Record:
    """Return the accuracy of the core: the Record by which its answers are known to be to this data."""
    right, n = int(answer.correct.sum()), len(answer.labels)
    return Record(answer.spec, "accuracy", right / n, "share", n, *wilson(right, n))


def _check_reference(stated: Sequence[Bound], reference: Reference) -> None:
    """Refuse bounds on a comparison with what is not at hand."""
    other = "full" if reference.kind == "core" else "core"
    for bound in stated:
        against_core = bound.metric == "churn" and other == "core"
        if against_core or bound.metric.endswith(f"_{other}"):
            asked = "the core's answers to this data, which are not known" if other == "core" else "the full point"
            do = "Give the core (core=, --core)." if other == "core" else "State it against the core."
            raise InputError(f"bound {bound} needs {asked}", do=do)


def _check_present(stated: Sequence[Bound], answer: Answers) -> None:
    """Refuse bounds on classes that the data has no samples of."""
    there = {answer.class_names[place] for place in answer.present}
    for bound in stated:
        if bound.scope and bound.scope not in there:
            raise DataError(f"class {bound.scope!r} of bound {bound} has no samples in the data")
