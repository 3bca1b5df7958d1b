"""Options as frozen values: each verb declares a dataclass, the parser fills it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every verb has."""

    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False


Given = TypeVar("Given", bound=Common)


def command(options: type[Given], run: Callable[[Given], int | None]) -> Callable[..., int | None]:
    """Return a function with one parameter per field of `options`, as typer reads them, that calls `run`.

    Arguments come first, then options in the order of their classes: those of the verb itself, then what it inherits.

    Args:
        options: Frozen keyword-only dataclass; each field is `Annotated` with a typer option or argument.
        run: The verb; its docstring is the help text, its result the exit code (None for 0).
    """
    hints = get_type_hints(options, include_extras=True)
    classes = [*enumerate(options.__mro__)]
    homes = {name: place for place, home in reversed(classes) for name in inspect.get_annotations(home)}
    ordered = sorted(fields(options), key=lambda field: (not _is_argument(hints[field.name]), homes[field.name]))

    def call(**given: Any) -> int | None:
        """Run the verb with its options as one value."""
        return run(options(**given))

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in ordered
        ]
    )
    call.__annotations__ = {field.name: hints[field.name] for field in ordered}
    call.__doc__ = run.__doc__
    return call


def _is_argument(hint: Any) -> bool:
    return any(isinstance(said, typer.models.ArgumentInfo) for said in get_args(hint))


def as_option(name: str) -> str:
    """Return how an option is typed.

    Example:
        >>> as_option("size_bytes")
        '--size-bytes'
    """
    return f"--{name.replace('_', '-')}"


def version(asked: bool) -> None:
    """Print the version and leave, when asked to."""
    if asked:
        from concertina import __version__

        typer.echo(f"concertina {__version__}")
        raise typer.Exit
