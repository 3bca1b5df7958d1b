"""A family's methods for attributes: taken out of its representation on demand, and what is left of them measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor

from concertina.errors import InputError, PointError
from concertina.family.attribute import attribute_of
from concertina.family.composing import composition
from concertina.family.debiasing import Debiased, DebiasOptions, checked, debiased, held_attribute, judged, probed
from concertina.family.modules import BASE
from concertina.family.probing import layer_of
from concertina.family.remarks import hurt_groups
from concertina.types import Record

if TYPE_CHECKING:
    from concertina.family.evidence import Measurable

log = logging.getLogger("concertina")
Values = str | Sequence[Any] | Tensor
"""An attribute: the column of a table, or one number or text a sample."""


class Attributes:
    """What a family does about attributes such as sex or age."""

    def debias(
        self: Any,
        name: str,
        data: Any,
        validation: Any = None,
        *,
        attribute: Values,
        validation_attribute: Values | None = None,
        target: str = "",
        **options: Unpack[DebiasOptions],
    ) -> Debiased:
        """Train a module that takes an attribute out of the representation, at every size, and take it in.

        The representation is the input of the last layer unless `layer=` says otherwise. The module is a sparse
        difference on that layer and all before it; core and points stay bit for bit as they are, and unplugged it is
        as if it had never been there. On held-out data fresh probes then say what is left of the attribute, and every
        group's accuracy before and after is told; groups that are hurt are warned of.

        Args:
            name: What to call the module.
            data: Labelled training data of the family's task, as `fit` takes it.
            validation: Held-out data; without it nothing is measured.
            attribute: A column of the table that the data was opened from, or one value a sample.
            validation_attribute: The same of the held-out data, where it is no column.
            target: The column of labels, as a check: it must be the one that the data was opened with.
            **options: See `DebiasOptions`: values=, by=("hsic", "adversary"), strength=1, beside=("gender",), layer=,
                options={"penalty": 0.3}, epochs=, batch_size=256, learning_rate=0.01, seed=0, progress=.

        Returns:
            The module, Records of every point, and warnings. The Records are kept with the family.

        Raises:
            InputError: The name is taken, an option is wrong, the attribute is the target, the family is no classifier,
                or nothing lies before the layer.
            DataError: There is no such column; it has one value, NaN, or too few samples of a value.
            UnknownNameError: No such way of removal, or module to be used beside.
            AnalysisError: No layer was found that makes the classes.
            PointError: Only a part of the family is here (opened with upto=).
            TrainingError: The loss is not finite.

        Source: Hauzenberger et al., modular debiasing by sparse subnetworks (arXiv:2205.15171).
        """
        family: Measurable = self
        self.modules.check_new(name)
        if not self.complete:
            raise PointError("a part of this family only is here", asked="a module for it", do="Call grow() first.")
        train = checked(family, data, target)
        held = None if validation is None else checked(family, validation, target)
        of_train = attribute_of(train, attribute, name, options.get("values", ()))
        of_held = None if held is None else held_attribute(held, _held(attribute, validation_attribute), name, of_train)
        module = debiased(family, self.modules, name, train, of_train, options)
        found: list[Record] = []
        if held is not None and of_held is not None:
            found = judged(family, module, train, held, (of_train, of_held))
        told = hurt_groups(family.points, found)
        self._take_in(module, found)
        for sentence in told:
            log.warning("%s", sentence)
        return Debiased(module, tuple(found), told)

    def probe(
        self: Any,
        data: Any,
        validation: Any,
        *,
        attribute: Values,
        validation_attribute: Values | None = None,
        values: Sequence[str] = (),
        modules: str | Sequence[str] = (),
        layer: str = "",
    ) -> list[Record]:
        """Measure what fresh probes read of an attribute at every point, with modules or without, and groups' accuracy.

        Args:
            data: Labelled data that the probes learn from.
            validation: Held-out data that they are asked on.
            attribute: A column, or one value a sample.
            validation_attribute: The same of the held-out data, where it is no column.
            values: The values that count; all unless said.
            modules: Names of modules that are plugged in, as for `with_modules`: "-sex".
            layer: Path of the layer whose input is read; the one that makes the classes unless said.

        Returns:
            "probe[sex]": balanced accuracy, 1 / values by guessing; "accuracy" and "accuracy[sex=Female]" ... They are
            kept with the family, with modules under the scope "module NAME".

        Raises:
            InputError, DataError, UnknownNameError, AnalysisError: As `debias`.
        """
        family: Measurable = self
        train, held = checked(family, data, ""), checked(family, validation, "")
        of_train = attribute_of(train, attribute, "attribute", values)
        of_held = held_attribute(held, _held(attribute, validation_attribute), "attribute", of_train)
        chosen = composition(self.modules, modules or BASE)
        found, _ = probed(family, train, held, (of_train, of_held), chosen, layer_of(family, layer))
        family.add_records(found)
        return found


def _held(attribute: Values, validation_attribute: Values | None) -> Values:
    """Return the attribute of the held-out data.

    Raises:
        InputError: That of the training data is no column, and none was given.
    """
    if validation_attribute is None and not isinstance(attribute, str):
        allowed = "one value a sample, as for the training data"
        raise InputError("validation_attribute", asked="none", allowed=allowed)
    return attribute if validation_attribute is None else validation_attribute
