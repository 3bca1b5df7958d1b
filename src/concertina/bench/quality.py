"""Quality at equal MACs: the family beside networks that were cut, and trained by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn

from concertina.bench.base import THEMES, Job, Study, Theme, markdown
from concertina.bench.figures import FAMILY, Figures, Place, scope
from concertina.bench.peers import EQUAL_COST, EQUAL_EPOCHS, PEERS, Peer, peers_of, spent
from concertina.bench.verdicts import Bar, at_least
from concertina.family.rivals import NAIVE, TRAINING_MACS, UNTUNED
from concertina.load.data import batches
from concertina.measure.quality import Quality, evaluate, paired_difference
from concertina.types import Point, Record

CORE = "the core"
BATCH = 128
MINUS, METRIC = "family_minus", "quality"
"""Metrics: by how much the family is right more often on the same samples; the task's own metric."""
LEAST = {CORE: -0.005, NAIVE: 0.0, UNTUNED: 0.0, EQUAL_EPOCHS: -0.005, EQUAL_COST: 0.0}
"""By how much the family may be right less often than each."""


@THEMES.register("quality", source="ours")
class QualityTheme(Theme):
    """The task's metric at every point beside networks of its MACs that were cut, and trained by themselves."""

    title = "Quality at the same MACs"

    def measure(self, job: Job) -> list[Record]:
        """Measure the first family, its core, and the rivals of each point; nothing where there is no data."""
        return [] if job.study is None else list(_measured(job, job.study))

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return figures side by side, with the intervals of the differences, and the costs of training."""
        lines: list[str] = []
        for subject in figures.subjects(METRIC):
            there = figures.who(METRIC, subject)
            rivals = [who for who in PEERS if who in there]
            rows = []
            for place in figures.places[subject]:
                own = _percent(figures.one(METRIC, subject, FAMILY, place))
                rows.append((place.title, own, *(_rival_cell(figures, subject, who, place) for who in rivals)))
            lines += [*markdown((f"{subject} (MACs)", FAMILY, *rivals), rows), "", _closing(figures, subject), ""]
        return lines[:-1]

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Compare the full point with the core, and each smaller point with its rivals, sample by sample."""
        bars = []
        for subject in figures.subjects(MINUS):
            for who in figures.who(MINUS, subject):
                places = figures.places[subject]
                for place in places[-1:] if who == CORE else places[:-1]:
                    found = figures.one(MINUS, subject, who, place)
                    if found is not None:
                        bars.append(_bar(found, subject, who, place))
        return bars


def _bar(found: Record, subject: str, who: str, place: Place) -> Bar:
    least = LEAST[who]
    what = f"{subject}: full point minus the core" if who == CORE else f"{subject}: points minus {who}"
    wanted = f"not below by more than {-100 * least:g} points" if least else "above"
    verdict = at_least(found, least + (0.0 if least else 1e-9))
    where = "" if who == CORE else place.name
    return Bar(what, wanted, _difference(found), verdict, found.value - least, where, f"{found.n} pairs")


def _measured(job: Job, study: Study) -> Iterator[Record]:
    subject, core = job.subjects[0], None
    family = subject.family
    if study.core is not None:
        core = _on(job, study, study.core.module)
        yield from _figures(job, core, family.points[-1], CORE)
    cost = spent(family)
    if cost is not None:
        yield Record("", TRAINING_MACS, cost, "MACs", scope=scope(subject.name, FAMILY))
    for done, point in enumerate(family.points):
        job.tell("quality", done / len(family.points))
        own = _on(job, study, family.view(point.name))
        yield from _figures(job, own, point, FAMILY)
        if core is not None and point.macs == family.points[-1].macs:
            yield from _minus(own, core, point, scope(subject.name, CORE))
        for peer in peers_of(job, study, point):
            yield from _beside(job, own, (point, peer), _on(job, study, peer.module))


def _beside(job: Job, own: Quality, pair: tuple[Point, Peer], theirs: Quality) -> Iterator[Record]:
    """Yield the figures of a rival, and by how much the family leads."""
    point, peer = pair
    where = scope(job.subjects[0].name, peer.who)
    yield from _figures(job, theirs, point, peer.who)
    yield Record(point.spec.text, "macs", float(peer.macs), "MACs", scope=where)
    if peer.training_macs:
        yield Record(point.spec.text, TRAINING_MACS, float(peer.training_macs), "MACs", scope=where)
    yield from _minus(own, theirs, point, where)


def _on(job: Job, study: Study, module: nn.Module) -> Quality:
    data = study.held
    return evaluate(module, job.subjects[0].family.task, batches(data, BATCH), spec="", data=data.fingerprint)


def _figures(job: Job, quality: Quality, point: Point, who: str) -> list[Record]:
    """Return the task's headline figure."""
    subject = job.subjects[0]
    metric, where = subject.family.task.metric.name, scope(subject.name, who)
    found = [record for record in quality.records if record.metric == metric and not record.scope]
    return [replace(record, metric=METRIC, spec=point.spec.text, scope=where) for record in found]


def _minus(own: Quality, other: Quality, point: Point, where: str) -> Iterator[Record]:
    """Yield the difference in right answers, where the task tells right from wrong for each sample."""
    if "correct" in own.rows:
        rows = own.rows["correct"], other.rows["correct"]
        difference, low, high = paired_difference(*rows)
        yield Record(point.spec.text, MINUS, difference, "share", len(rows[0]), low, high, scope=where)


def _closing(figures: Figures, subject: str) -> str:
    """Return the core's figure and what each training cost."""
    told, places = [], figures.places[subject]
    core = figures.one(METRIC, subject, CORE, places[-1])
    if core is not None:
        told.append(f"The core: {_percent(core)}")
    whole = figures.one(TRAINING_MACS, subject, FAMILY)
    if whole is not None:
        told.append(f"training MACs, backward and teacher passes included: {FAMILY} {whole.value:.2g}")
    for who in figures.who(TRAINING_MACS, subject):
        costs = [found.value for place in places if (found := figures.one(TRAINING_MACS, subject, who, place))]
        if costs and who != FAMILY:
            told.append(f"{who} {sum(costs):.2g} for {len(costs)} networks")
    return "; ".join([*told, "in brackets: the family's lead in points, with its 95% interval"]) + "."


def _rival_cell(figures: Figures, subject: str, who: str, place: Place) -> str:
    """Return a rival's figure, with the family's lead and its interval."""
    found, minus = (figures.one(metric, subject, who, place) for metric in (METRIC, MINUS))
    return _percent(found) + ("" if minus is None else f" ({_difference(minus)})")


def _difference(found: Record) -> str:
    low, high = found.low or 0.0, found.high or 0.0
    return f"{100 * found.value:+.1f}, {100 * low:+.1f} to {100 * high:+.1f}"


def _percent(found: Record | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.1%}" if found.unit == "share" else f"{found.value:.4g}"
