"""One infer request over HTTP: read, answered, written; and what becomes of errors."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid

from concertina.errors import BusyError, ConcertinaError, how_to_install
from concertina.serve.binary import HEADER
from concertina.serve.host import Host
from concertina.serve.http import JSON, NotServedError, as_json, body_of, status_of
from concertina.serve.protocol import Asked, largest_body, read_request, written_answer
from concertina.serve.session import Session
from concertina.serve.settings import Answer

try:
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    from concertina.errors import ExtraError

    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

log = logging.getLogger("concertina")

REQUEST_ID = "X-Request-Id"
BYTES = "application/octet-stream"
PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_SOUND_ID = re.compile(r"[\w.:-]{1,128}")


async def straight(host: Host, scope: Scope, receive: Receive, send: Send) -> bool:
    """Answer an infer request past all routing, which costs more than a small network; return whether it was one.

    Args:
        host: Holds the session.
        scope: Of the request, as ASGI has it.
        receive: Gives its body.
        send: Takes the answer.
    """
    if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
        return False
    found = PATH.fullmatch(scope["path"])
    if found is None:
        return False
    request = Request(scope, receive)
    try:
        response = await infer(host, request, found[1], found[2] or "")
    except ConcertinaError as error:
        response = failed(host, request, error)
    except ClientDisconnect:
        return True
    except Exception as error:  # a server that has a fault of its own still answers, and lives on
        log.exception("a request could not be answered")
        response = as_json({"error": f"internal error: {type(error).__name__}"}, 500)
    await response(scope, receive, send)
    return True


async def infer(host: Host, request: Request, model: str, version: str) -> Response:
    """Return the answer to an infer request; errors as the session has them, and those above."""
    start = time.perf_counter()
    session = named(host, model, version)
    body = await body_of(request, largest_body(session.signature, session.settings.max_batch))
    most = session.settings.max_batch
    asked = read_request(body, request.headers.get(HEADER), session.signature, most, version)
    identifier = _identifier(request, asked)
    request.state.identifier = identifier
    session, answer = await _answer(host, session, asked)
    written, length = written_answer(answer, asked, session.signature, model)
    host.log_answer(identifier, answer, 1000 * (time.perf_counter() - start))
    headers = {REQUEST_ID: identifier} | ({HEADER: str(length)} if length is not None else {})
    return Response(written, media_type=JSON if length is None else BYTES, headers=headers)


async def _answer(host: Host, session: Session, asked: Asked) -> tuple[Session, Answer]:
    """Return the session that answered, and its answer: the one that took over, where that happened in between."""
    try:
        future = session.submit(*asked.inputs, **asked.request)
    except BusyError:
        if (newer := host.session) is session or newer is None:
            raise
        session, future = newer, newer.submit(*asked.inputs, **asked.request)
    return session, await asyncio.wrap_future(future)


def named(host: Host, model: str, version: str) -> Session:
    """Return the session that a path means.

    Raises:
        BusyError: It is not ready yet.
        NotServedError: There is no such model or subnet.
    """
    if model != host.name:
        raise NotServedError("unknown model", asked=repr(model)[:100], allowed=host.name)
    session = host.session
    if session is None:
        raise BusyError("the model is warming up", retry_after_s=1.0)
    names = [point.name for point in session.points]
    if version and version not in names:
        raise NotServedError("unknown version", asked=repr(version)[:100], allowed=", ".join(names))
    return session


def _identifier(request: Request, asked: Asked | None) -> str:
    """Return the request's own identifier where it is fit for a header, else a new one."""
    for text in (request.headers.get(REQUEST_ID, ""), asked.identifier if asked else ""):
        if text.isascii() and _SOUND_ID.fullmatch(text):
            return text
    return uuid.uuid4().hex


def failed(host: Host, request: Request, error: ConcertinaError) -> Response:
    """Return the answer to a request that went wrong: a short JSON object, the right status and the request's id."""
    status = status_of(error)
    identifier = getattr(request.state, "identifier", "") or _identifier(request, None)
    host.log_refusal(identifier, status, str(error))
    headers = {REQUEST_ID: identifier}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return as_json({"error": str(error)}, status, headers)
