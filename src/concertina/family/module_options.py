"""Options of training that all modules have, whatever they are trained for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from concertina.errors import InputError, did_you_mean
from concertina.family.options import train_settings
from concertina.train import Reporter, TrainSettings


class ModuleTraining(TypedDict, total=False):
    """How a module is trained."""

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    progress: Reporter | None
    """Told now and then where the work stands."""


def module_settings(options: Mapping[str, Any], known: Iterable[str], usual: Mapping[str, Any]) -> TrainSettings:
    """Return training settings.

    Args:
        options: What was given by name.
        known: All options there are.
        usual: Values of those that were not given.

    Raises:
        InputError: There is no such option, or a value is out of range.
    """
    names = tuple(known)
    for name in options:
        if name not in names:
            raise InputError("unknown option", asked=repr(name), allowed=", ".join(names), do=did_you_mean(name, names))
    chosen: Any = {**usual, **options}
    if chosen["epochs"] == 0:
        raise InputError("option epochs", asked="0", allowed="above 0", do="A module without training changes nothing.")
    return train_settings(chosen)
