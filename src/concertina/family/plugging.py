"""A family's methods for modules: trained on a domain, plugged in on demand, taken out without a trace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import nn

from concertina.errors import PointError, some
from concertina.family.attributes import Attributes
from concertina.family.dial import point_called
from concertina.family.module_files import read_module, save_module
from concertina.family.modules import AdaptOptions, Module, Modules, adapted, measured, plugged_view
from concertina.nest import Supernet
from concertina.types import Record

log = logging.getLogger("concertina")

if TYPE_CHECKING:
    from concertina.family.evidence import Measurable


class Plugging(Attributes):
    """What a family does with modules."""

    supernet: Supernet
    _lock: threading.Lock

    def __init__(self) -> None:
        self.modules = Modules()
        """The modules by name; `add` and `delete` them there."""
        self._plugged: dict[tuple[str, tuple[Module, ...], bool], nn.Module] = {}

    def adapt(self: Any, name: str, data: Any, validation: Any = None, **options: Unpack[AdaptOptions]) -> list[Record]:
        """Train a module on a domain's data, for every size of the family at once, and take it in under a name.

        The core and all points stay bit for bit as they are. Where the data has classes of its own, the module has a
        head for these.

        Args:
            name: What to call it.
            data: Labelled training data of the domain, as `fit` takes it; its class names may be others than the
                family's.
            validation: Held-out data of the domain; without it nothing is measured.
            **options: See `AdaptOptions`: kind="lora", layers=, options={"rank": 8}, epochs=3, batch_size=64,
                learning_rate=5e-3, seed=0, progress=.

        Returns:
            Figures of every point with the module, under the scope "module NAME"; they are kept with the family.

        Raises:
            InputError: The name is taken or none, or an option is wrong.
            UnknownNameError: No such kind.
            DataError: The data does not fit the network.
            PointError: Only a part of the family is here (opened with upto=).
            TrainingError: The loss is not finite.

        Source: one small module on a frozen core, Houlsby et al. 2019 (arXiv:1902.00751).
        """
        family: Measurable = self
        self.modules.check_new(name)
        if not self.complete:
            raise PointError("a part of this family only is here", asked="a module for it", do="Call grow() first.")
        module = adapted(family, name, data, **options)
        found = [] if validation is None else measured(family, module, validation)
        self.modules.add(module)
        family.add_records(found)
        return found

    def with_modules(self: Any, point: str, modules: str | Sequence[str], *, merged: bool = False) -> nn.Module:
        """Return an operating point with modules plugged in, as an ordinary module in eval mode.

        Attached (the default), its weights are views of the family's storage and modules compute beside them. Merged,
        it computes no more than the plain point, with copies of the tensors that modules touch. Either way the family
        is as it was, and the plain point answers as before. Asking again gives the same object, until a module is
        deleted.

        Args:
            point: Name of the point.
            modules: Name of a module, or several, plugged in one after the other.
            merged: Whether to merge what can be merged; kinds that add computation stay attached.

        Raises:
            UnknownNameError: There is no such module.
            PointError: There is no such point, or a module with statistics was trained before it was there.
        """
        names = (modules,) if isinstance(modules, str) else tuple(modules)
        chosen = tuple(self.modules[name] for name in names)
        called = point_called(self.points, point).name
        key = (called, chosen, merged)
        with self._lock:
            if key not in self._plugged:
                there = set(self.modules.values())
                self._plugged = {held: view for held, view in self._plugged.items() if there.issuperset(held[1])}
                self._plugged[key] = plugged_view(self.supernet, called, chosen, merged=merged)
            return self._plugged[key]

    def _tell_of_modules(self) -> None:
        """Warn that a family's file does not hold its modules."""
        if self.modules:
            log.warning("not in this file: modules %s; call save_module for each", some(self.modules))

    def save_module(self, name: str, path: str | Path) -> None:
        """Write a module to a file of its own: safetensors, whole or not at all.

        Args:
            name: Name of the module.
            path: The file.

        Raises:
            UnknownNameError: There is no such module.
            StorageError: The disk refuses.
        """
        save_module(self.supernet, self.modules[name], Path(path))

    def load_module(self: Any, path: str | Path, name: str = "") -> Module:
        """Take in the module that a file holds; every tensor must be there, and fit.

        Args:
            path: A file that `save_module` wrote.
            name: What to call it; as it was called unless said.

        Raises:
            StorageError: The file cannot be read.
            FormatError: It is no module, damaged, or of another version.
            InputError: It was trained on another family, or the name is taken.
            PointError: Only a part of the family is here (opened with upto=).
        """
        if not self.complete:
            raise PointError("a part of this family only is here", asked="a module for it", do="Call grow() first.")
        read = read_module(self.supernet, Path(path))
        module = replace(read, name=name or read.name)
        self.modules.add(module)
        return module
