"""Data that audits and promises may rest on: labelled, of the family's classes, and not what it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from concertina.errors import DataError, InputError, UnknownNameError, did_you_mean, some
from concertina.family.dial import point_called
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.load.data import TensorData, batches
from concertina.measure.answers import Answers, answers
from concertina.measure.promise import place_of
from concertina.objective import Classification
from concertina.train import Reporter
from concertina.types import Point, Record, data_key

log = logging.getLogger("concertina")

BATCH = 128
TRAINED_ON = ("training data", "training data before")
"""Labels of the provenance that name what a family was trained on."""


def check_classifier(family: Measurable) -> None:
    """Refuse a family whose outputs are no classes.

    Raises:
        InputError: It is none of a classifier.
    """
    if not isinstance(family.task, Classification):
        raise InputError(
            "audits and promises are of classifiers", asked=f"a family for {family.task.name}", allowed="classification"
        )


def held_out(family: Measurable, source: Any) -> TensorData:
    """Return labelled data that the family may be judged on.

    Args:
        family: A family of a classifier.
        source: What `Family.measure` takes.

    Raises:
        DataError: It does not fit the network, names other classes, or is what the family was trained on.
    """
    data = taken(source, family.core, family.task)
    names = family.core.class_names
    if names and data.class_names and tuple(data.class_names) != tuple(names):
        raise DataError(
            "class names of the data differ from the family's", asked=some(data.class_names), allowed=some(names)
        )
    _refuse_training_data(family, data)
    return data


def _refuse_training_data(family: Measurable, data: TensorData) -> None:
    """Refuse what was trained on, or some classes of it, by its fingerprint, and warn of what bears its name."""
    source = data.source.removeprefix("a part of ")
    for label in TRAINED_ON:
        for told in family.evidence.provenance.get(label, "").split(" | "):
            if any(f"fingerprint {known}" in told for known in (data.fingerprint, data.origin) if known):
                raise DataError(
                    "this is what the family was trained on: figures on it say nothing of new data",
                    asked=data.label,
                    do="Give data that it has not seen.",
                )
            if source and source in told.partition(";")[0]:
                log.warning("the data is called like the training data (%s): was it not seen in training?", source)


def class_place(name: object, class_names: Sequence[str], what: str) -> int:
    """Return the number of a class.

    Args:
        name: As the user gave it.
        class_names: Names in the order of the outputs.
        what: Where it was given, to begin the message.

    Raises:
        UnknownNameError: There is no such class; the nearest and all there are are named.
    """
    place = place_of(name, class_names) if isinstance(name, str) else None
    if place is None:
        do = did_you_mean(name, class_names)
        raise UnknownNameError(f"unknown class in {what}", asked=repr(name), allowed=some(class_names, 20), do=do)
    return place


def answered(
    family: Measurable, data: TensorData, points: Sequence[Point], stage: str, progress: Reporter | None = None
) -> Iterator[Answers]:
    """Yield what each point answers to the data.

    Args:
        family: The family.
        data: Held-out data.
        points: The points.
        stage: What to call the work.
        progress: Told now and then where it stands.
    """
    for done, point in enumerate(points):
        if progress is not None:
            progress(stage, done / len(points))
        module, names = family.view(point.name), family.core.class_names
        yield answers(module, family.task, batches(data, BATCH), spec=point.spec.text, class_names=names)


def chosen(family: Measurable, points: Sequence[str]) -> list[Point]:
    """Return the points of these names in the order of the family; all where there are no names."""
    wanted = {point_called(family.points, name).name for name in points}
    return [point for point in family.points if not wanted or point.name in wanted]


def keep(family: Measurable, records: Sequence[Record], data: TensorData) -> None:
    """Keep Records with the family, and say in its provenance what data they were measured on."""
    family.add_records(records)
    named = {data_key(data.fingerprint): data.label} if data.source else {}
    family.evidence = replace(family.evidence, provenance={**family.evidence.provenance, **named})
