"""What all routes share: bodies within bounds, errors with their status, JSON."""

from __future__ import annotations

import json
from typing import Any

from concertina.errors import (
    BusyError,
    FormatError,
    InputError,
    LateError,
    PointError,
    StorageError,
    how_to_install,
)

try:
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
except ImportError as error:
    from concertina.errors import ExtraError

    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

JSON = "application/json"


class NotServedError(InputError):
    """There is no such model, subnet or page."""


class TooLargeError(InputError):
    """A body is larger than any request needs to be."""


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error.

    Example:
        >>> status_of(BusyError("full")), status_of(LateError("late")), status_of(InputError("shape"))
        (503, 504, 400)
    """
    kinds: dict[type[Exception], int] = {BusyError: 503, LateError: 504, FormatError: 503, StorageError: 503}
    kinds |= {NotServedError: 404, PointError: 404, TooLargeError: 413}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), 400)


def as_json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of plain data."""
    return Response(json.dumps(data), status, headers, JSON)


async def body_of(request: Request, most: int) -> bytes:
    """Return the body, once it is seen to be no larger than a request needs.

    Args:
        request: The request.
        most: Most bytes.

    Raises:
        InputError: It is too large, or compressed.
        ClientDisconnect: Whoever sends it hung up.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InputError("HTTP header Content-Encoding", allowed="none: bodies are taken as they are")
    said = request.headers.get("content-length", "")
    parts, size = [], int(said) if said.isascii() and said.isdecimal() and len(said) < 16 else 0
    if size > most:
        raise TooLargeError("body of the request", asked=f"{size:,} bytes", allowed=f"up to {most:,}")
    size, more = 0, True
    while more:  # as `request.stream` does, in half the time
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > most:
            raise TooLargeError("body of the request", asked=f"over {most:,} bytes", allowed=f"up to {most:,}")
    return parts[0] if len(parts) == 1 else b"".join(parts)
