"""The templates of the page and the card, filled in alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from concertina.report import wording

FILTERS = ("count", "interval", "percent", "shown", "title", "value")
"""Functions of `wording` that templates may use."""


def render(template: str, context: Mapping[str, Any], finalize: Callable[[Any], Any], *, autoescape: bool) -> str:
    """Return a template of this folder, filled in; a name that the context lacks is an error.

    Args:
        template: File name of the template.
        context: What it speaks of.
        finalize: Makes each value safe to look at.
        autoescape: Whether values are escaped for HTML after that.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("concertina.report"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not autoescape,
        finalize=finalize,
    )
    environment.filters.update({name: getattr(wording, name) for name in FILTERS})
    return environment.get_template(template).render(context)
