"""A family's methods for modules: trained on a domain, plugged in on demand, taken out without a trace."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor, nn

from concertina.errors import DataError, InputError, PointError
from concertina.family.adapting import AdaptOptions, adapted, looks_of, measured
from concertina.family.answering import Answers, answered, check_inputs, wishes
from concertina.family.attributes import Attributes
from concertina.family.composing import composition
from concertina.family.dial import point_called
from concertina.family.given import filled, taken
from concertina.family.handle import Handle
from concertina.family.module_files import module_bytes, module_within, read_module, save_module
from concertina.family.modules import AUTO, BASE, Module, Modules, plugged_view
from concertina.family.peft_files import peft_module, save_peft_module
from concertina.family.persist import Opened
from concertina.family.probing import scope_of
from concertina.family.routing import Features, Gaussian, choose
from concertina.nest import Supernet
from concertina.types import Record

MOST_VIEWS = 1000
"""Points with modules that are kept; the one not asked for longest gives way."""

if TYPE_CHECKING:
    from concertina.family.evidence import Measurable


class Plugging(Attributes):
    """What a family does with modules."""

    supernet: Supernet
    _lock: threading.Lock

    def __init__(self, opened: Opened | None) -> None:
        stored = tuple(opened.artifact.modules) if opened is not None else ()
        self.modules = Modules((name for name in stored if name != BASE), self._module_of_file)
        """The modules by name; `add` and `delete` them there."""
        self._plugged: dict[tuple[str, tuple[Module, ...], bool], nn.Module] = {}
        self._base: Module | None = None
        self._base_stored = BASE in stored
        self._features: tuple[str, Features] | None = None

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
        module = adapted(family, name, data, point=self._routed_at(), **options)
        found = [] if validation is None else measured(family, [module], validation, scope=scope_of([module]))
        self._take_in(module, found)
        return found

    def _take_in(self: Any, module: Module, records: Sequence[Record]) -> None:
        """Take in a module with its figures; those of one that had its name before are gone."""
        self.modules.add(module)
        self.evidence = self.evidence.without_scope(scope_of([module]))
        self.add_records(records)

    def measure_with(self: Any, data: Any, modules: str | Sequence[str], *, points: Sequence[str] = ()) -> list[Record]:
        """Measure points with modules plugged in on labelled data, keep the Records and return them.

        Args:
            data: Held-out data of the modules' domain, as `fit` takes it.
            modules: Their names, as for `with_modules`.
            points: Names of the points; all unless said.

        Raises:
            UnknownNameError, InputError, PointError: As `with_modules`.
            DataError: The data does not fit the network, or is labelled by other classes.
        """
        chosen = composition(self.modules, modules)
        found = measured(self, chosen, data, points, scope_of(chosen))
        self.add_records(found)
        return found

    def with_modules(self: Any, point: str, modules: str | Sequence[str], *, merged: bool = False) -> nn.Module:
        """Return an operating point with modules plugged in, as an ordinary module in eval mode.

        Attached (the default), its weights are views of the family's storage and modules compute beside them. Merged,
        it computes no more than the plain point, with copies of the tensors that modules touch. Either way the family
        is as it was, and the plain point answers as before. Asking again gives the same object, until a module is
        deleted or a thousand others were asked for.

        Args:
            point: Name of the point.
            modules: Name of a module, or several ("reviews,-gender", or a list), plugged in one after the other; a "-"
                stands before those that take an attribute out, "__base__" is none.
            merged: Whether to merge what can be merged; kinds that add computation stay attached.

        Raises:
            UnknownNameError: There is no such module.
            InputError: They cannot go together.
            PointError: There is no such point, or a module with statistics was trained before it was there.
        """
        chosen = composition(self.modules, modules)
        called = point_called(self.points, point).name
        if not chosen:
            return self.view(called)
        key = (called, chosen, merged)
        with self._lock:
            if key not in self._plugged:
                there = set(self.modules.here)
                self._plugged = {held: view for held, view in self._plugged.items() if there.issuperset(held[1])}
                while len(self._plugged) >= MOST_VIEWS:
                    del self._plugged[next(iter(self._plugged))]
            found = self._plugged.pop(key, None) or plugged_view(self.supernet, called, chosen, merged=merged)
            self._plugged[key] = found
            return found

    def plugged(self: Any, point: str) -> Handle:
        """Return a handle on an operating point with the verbs users know: set, disable, merge, unmerge.

        Raises:
            PointError: There is no such point.
        """
        return Handle(self, point_called(self.points, point).name)

    def answer(
        self: Any, inputs: Tensor | Sequence[Tensor], modules: str | Sequence[Any] = BASE, *, point: str = ""
    ) -> Answers:
        """Return the answers to a batch, every sample with modules of its own.

        Args:
            inputs: The network's inputs, prepared: one tensor, or one for each input; samples along the first side.
            modules: One composition for all ("reviews"), or a list with one for each sample ("__base__" for none), or
                "auto": the router chooses for each, and where none suits, the plain point answers.
            point: Name of the operating point; the largest unless said.

        Returns:
            (batch, ...), equal to one sample at a time to 1e-4; a list of tensors where samples have heads of different
            sizes.

        Raises:
            UnknownNameError: There is no such module.
            InputError: Modules cannot go together, or there is not one composition for each sample.
            PointError: There is no such point.
        """
        given = check_inputs(inputs, self.core.example_inputs)
        called = point_called(self.points, point).name if point else self.points[-1].name
        each = self.route(given) if modules == AUTO else wishes(modules, len(given[0]))
        return answered(given, [name or BASE for name in each], lambda names: self.with_modules(called, names))

    def route(self: Any, inputs: Tensor | Sequence[Tensor]) -> list[str | None]:
        """Return for each input the name of the module whose domain it belongs to, None where it belongs to none.

        It takes one pass of the smallest operating point.

        Args:
            inputs: The network's inputs, prepared; samples along the first side.

        Returns:
            Names; "__base__" for the core's own domain, once `route_base` has learnt it.

        Raises:
            InputError: No module knows what its domain looks like, or they know it of different points.
        """
        given = check_inputs(inputs, self.core.example_inputs)
        known = self._looks()
        points = sorted({each.point for each in known.values()})
        if len(points) != 1:
            asked = f"domains known at {', '.join(points)}" if points else "no domain that is known"
            raise InputError("router", asked=asked, allowed="modules adapted on 50 samples or more, at one point")
        at = point_called(self.points, points[0]).name
        if self._features is None or self._features[0] != at:
            self._features = at, Features(self.core, self.supernet, at)
        return choose(known, self._features[1](given))

    @property
    def routed(self: Any) -> tuple[str, ...]:
        """Names of the modules between which `route` chooses, "__base__" for the core's own domain; none: it cannot."""
        known = self._looks()
        return tuple(known) if len({each.point for each in known.values()}) == 1 else ()

    def _looks(self: Any) -> dict[str, Gaussian]:
        """Return what the domains that are known look like."""
        known = {name: module.router for name, module in self.modules.items() if module.router}
        if self._base is None and self._base_stored:
            self._base = self._module_of_file(BASE)
        return known | ({BASE: self._base.router} if self._base is not None and self._base.router else {})

    def _routed_at(self: Any) -> str:
        """Return the point at which domains are known already; empty where there is none, or it is no longer there."""
        known = (module.router.point for module in self.modules.values() if module.router)
        return next((point for point in known if point in self.supernet.points), "")

    def route_base(self: Any, data: Any) -> None:
        """Let the router know what the core's own domain looks like, so that it can tell it from the modules'.

        Args:
            data: 50 samples of it or more, with or without labels.

        Raises:
            DataError: The data does not fit the network, or is too small.
        """
        held = filled(taken(data, self.core, self.task, labels=False), self.core, self.task)
        found = looks_of(self, self.task, held, self._routed_at())
        if found is None:
            raise DataError("data of the core's own domain", asked=f"{len(held)} samples", allowed="50 or more")
        self._base = Module(BASE, (), {}, self.core.class_names, router=found)

    def _module_of_file(self: Any, name: str) -> Module:
        """Return a module that lies in the family's file."""
        opened: Opened = self._opened
        if not (opened.complete or opened.reserve):
            do = "Open the file with reserve=True, or call grow()."
            raise PointError(f"module {name!r}", asked="in a family without room for its whole size", do=do)
        unread = [point.name for point in opened.unread(self.supernet)]
        return module_within(self.supernet, opened.artifact.module(name), name, unread)

    def _modules_as_bytes(self: Any) -> dict[str, bytes]:
        if self._base is None and self._base_stored:
            self._base = self._module_of_file(BASE)
        held = {name: module_bytes(self.supernet, module) for name, module in self.modules.items()}
        return held | ({BASE: module_bytes(self.supernet, self._base)} if self._base else {})

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

    def load_peft(self: Any, folder: str | Path, name: str, *, class_names: Sequence[str] = ()) -> Module:
        """Take in an adapter that PEFT trained on the whole core: LoRA or IA3; it then fits every size of the family.

        Its tensors are put in the family's order. At the full point it answers as with PEFT, where the family's weights
        are those of the core as loaded; where they have been trained since, a warning says so.

        Args:
            folder: A folder that PEFT's `save_pretrained` wrote, with safetensors; nothing of it is executed.
            name: What to call it.
            class_names: Names of the classes of the adapter's own head, where it brings one with another number of
                them than the core.

        Raises:
            StorageError: The folder cannot be read.
            FormatError: A file is missing or damaged, or a tensor does not fit; the text names it.
            UnknownNameError: The network has no such layer.
            InputError: It is an adapter of another kind, or has options that no module can stand for, each by name; or
                the name is taken.
            PointError: Only a part of the family is here (opened with upto=).
        """
        self.modules.check_new(name)
        if not self.complete:
            raise PointError("a part of this family only is here", asked="a module for it", do="Call grow() first.")
        module = peft_module(self, Path(folder), name, class_names)
        self.modules.add(module)
        return module

    def save_peft(self: Any, name: str, folder: str | Path) -> None:
        """Write a module as an adapter that PEFT loads onto the core as it was loaded.

        Args:
            name: Name of a module of kind "lora" or "ia3", with a head or without.
            folder: Where to write `adapter_config.json` and `adapter_model.safetensors`; made when missing.

        Raises:
            UnknownNameError: There is no such module.
            InputError: The format has no place for something in it.
            StorageError: The disk refuses.
        """
        save_peft_module(self, self.modules[name], Path(folder))
