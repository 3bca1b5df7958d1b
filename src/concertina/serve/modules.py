"""What a server tells of the modules in its file: what each is, and whether the router chooses between them."""

from __future__ import annotations

from typing import Any

from concertina.errors import ConcertinaError
from concertina.export import EAGER
from concertina.family.modules import OFF, Module
from concertina.modules import KINDS
from concertina.serve.session import Session


def described(session: Session) -> dict[str, Any]:
    """Return "module_details", one JSON object a module, and "module_auto": between which names the router chooses.

    A module that cannot be read is told with the reason; the others are told all the same.

    Args:
        session: The session; in a runtime without modules, or where they are still arriving, nothing can be plugged in
            and both are empty.
    """
    family = session.family
    if session.settings.runtime != EAGER or not session.settings.modules:
        return {"module_details": [], "module_auto": []}
    told = []
    for name in family.modules:
        try:
            told.append(_described(family.modules[name]))
        except ConcertinaError as error:
            told.append({"name": name, "error": str(error)[:300]})
    unread = any("error" in each for each in told)
    return {"module_details": told, "module_auto": [] if unread else list(family.routed)}


def _described(module: Module) -> dict[str, Any]:
    """Return a module as JSON values; `request` is what a request says to have it."""
    kinds = dict.fromkeys(plug.kind for plug in module.plugs)
    purpose = {"takes_out": module.removes} if module.removes else {"domain": module.name}
    return {
        "name": module.name,
        "request": f"{OFF}{module.name}" if module.removes else module.name,
        **purpose,
        "kinds": list(kinds),
        "merges": all(kind in KINDS and KINDS.get(kind).mergeable for kind in kinds),
        "size_bytes": module.size_bytes,
        "class_names": list(module.class_names),
        "own_classes": bool(module.heads),
    }
