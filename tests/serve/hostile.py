"""A family all of whose names are hostile."""

from __future__ import annotations

from dataclasses import replace

from tests.serve.subjects import family

import concertina as ct

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(2)>\u202e"


def hostile_family() -> ct.family.Family:
    """Return the family of `subjects` with hostile names: of its points, classes, source and licence."""
    sound = family()
    names = dict(zip(sound.supernet.points, (SCRIPT, IMAGE, "__proto__"), strict=True))
    points = {names[old]: replace(point, name=names[old]) for old, point in sound.supernet.points.items()}
    private = {names[old]: tensors for old, tensors in sound.supernet.private.items()}
    core = replace(
        sound.core,
        class_names=tuple(f"{SCRIPT}{IMAGE}{number}" for number in range(10)),
        source=f"module:{SCRIPT}",
        licence=IMAGE,
    )
    return ct.family.Family(core, replace(sound.supernet, points=points, private=private), evidence=sound.evidence)
