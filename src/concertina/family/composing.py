"""Compositions: which modules are plugged in together, as plain names, and which may be."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.errors import InputError
from concertina.family.modules import AUTO, BASE, OFF, Module, Modules


def spelled(asked: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of a composition, in order; none for the plain core.

    Args:
        asked: Names in a list, or in a text with commas between them; a "-" stands before the name of a module that
            takes an attribute out.

    Raises:
        InputError: A name is empty, stands twice, or the base has others beside it.

    Example:
        >>> spelled("reviews,-gender"), spelled(["reviews"]), spelled("__base__")
        (('reviews', '-gender'), ('reviews',), ())
    """
    if not isinstance(asked, str | Sequence):
        raise InputError("modules", asked=repr(asked), allowed="names of modules, such as 'reviews,-gender'")
    parts = asked.split(",") if isinstance(asked, str) else list(asked)
    if parts in ([], [""]):
        return ()
    if not all(isinstance(part, str) and part.strip() for part in parts):
        raise InputError("modules", asked=repr(asked), allowed="names of modules, such as 'reviews,-gender'")
    names = [part.strip() for part in parts]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice:
        raise InputError("modules", asked=f"{twice!r} twice", allowed="each once")
    if BASE in names and len(names) > 1:
        raise InputError("modules", asked=f"{BASE!r} with others", allowed=f"{BASE!r} alone: the core without any")
    if AUTO in names:
        raise InputError(
            "modules",
            asked=repr(AUTO),
            allowed="names",
            do="answer(inputs, 'auto') lets the router choose for every sample.",
        )
    return tuple(name for name in names if name != BASE)


def composition(modules: Modules, asked: str | Sequence[str]) -> tuple[Module, ...]:
    """Return the modules of a composition.

    Args:
        modules: Those there are.
        asked: As for `spelled`.

    Raises:
        UnknownNameError: There is no such module.
        InputError: They cannot go together; the text names them.
    """
    found = tuple(_called(modules, name) for name in spelled(asked))
    for i, module in enumerate(found):
        for other in found[:i]:
            both = module.heads & other.heads
            if both:
                asked_text = f"{other.name!r} and {module.name!r}, which both have a head of their own"
                raise InputError("modules together", asked=asked_text, allowed="one with a head")
    return found


def _called(modules: Modules, name: str) -> Module:
    module = modules[name.removeprefix(OFF) if name not in modules else name]
    if module.removes and not name.startswith(OFF):
        do = f"Write '{OFF}{module.name}'."
        raise InputError(f"module {module.name!r}", asked="plugged in as a domain", do=f"It takes one out. {do}")
    if name.startswith(OFF) and not module.removes:
        do = f"Write {module.name!r}, or leave it out: without it the core is as it was."
        raise InputError(f"module {module.name!r}", asked=f"{name!r}", allowed="without the minus", do=do)
    return module
