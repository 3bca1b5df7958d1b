"""The web application: the Open Inference Protocol over HTTP, health, and figures for Prometheus."""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import concertina
from concertina.errors import BusyError, ConcertinaError, how_to_install
from concertina.serve.binary import HEADER
from concertina.serve.host import Host
from concertina.serve.http import JSON, NotServedError, as_json, body_of, status_of
from concertina.serve.page import add_page
from concertina.serve.protocol import (
    Asked,
    largest_body,
    model_metadata,
    read_request,
    server_metadata,
    written_answer,
)
from concertina.serve.session import Session
from concertina.serve.settings import Answer

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
except ImportError as error:
    from concertina.errors import ExtraError

    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

REQUEST_ID = "X-Request-Id"
_SOUND_ID = re.compile(r"[\w.:-]{1,128}")
BYTES = "application/octet-stream"


def make_app(host: Host, *, page: bool = True) -> FastAPI:
    """Return the application; it starts the host when it starts, and drains it when it ends.

    Args:
        host: Holds the session.
        page: Whether there is a page for people at `/`.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        """Open the session beside the first questions about health; at the end answer what waits."""
        host.start()
        yield
        await asyncio.to_thread(host.close)

    app = FastAPI(title="Concertina", version=concertina.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.host = host
    _add_errors(app)
    _add_server_routes(app, host)
    _add_model_routes(app, host)
    if page:
        add_page(app, host)
    return app


def _add_server_routes(app: FastAPI, host: Host) -> None:
    @app.get("/v2", tags=["server"])
    async def server() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return server_metadata(concertina.__version__)

    @app.get("/v2/health/live", tags=["server"])
    async def live() -> dict[str, bool]:
        """Whether the server can be spoken to."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["server"])
    async def ready() -> Response:
        """Whether every subnet has been warmed up."""
        return as_json({"ready": host.ready}, 200 if host.ready else 503)

    @app.get("/metrics", tags=["server"])
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(host.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_model_routes(app: FastAPI, host: Host) -> None:
    @app.get("/v2/models/{model}", tags=["model"])
    @app.get("/v2/models/{model}/versions/{version}", tags=["model"])
    async def metadata(model: str, version: str = "") -> Response:
        """What the model takes and gives, and the figures of its subnets, which are its versions."""
        told = model_metadata(_named(host, model, version), model)
        told["parameters"] |= host.arriving()
        return as_json(told)

    @app.get("/v2/models/{model}/ready", tags=["model"])
    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["model"])
    async def model_ready(model: str, version: str = "") -> Response:
        """Whether the model, or one subnet of it, answers."""
        _named(host, model, version)
        return as_json({"name": model, "ready": True})

    @app.post("/v2/models/{model}/infer", tags=["model"])
    @app.post("/v2/models/{model}/versions/{version}/infer", tags=["model"])
    async def infer(request: Request, model: str, version: str = "") -> Response:
        """Answer by the subnet named as the version; without one, by the largest that fits the request's budget."""
        return await _infer(host, request, model, version)


async def _infer(host: Host, request: Request, model: str, version: str) -> Response:
    start = time.perf_counter()
    session = _named(host, model, version)
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


def _named(host: Host, model: str, version: str) -> Session:
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


def _add_errors(app: FastAPI) -> None:
    """Make every error a short JSON object with the right status; what is wrong with a request is never a 500."""

    async def ours(request: Request, error: Exception) -> Response:
        """Answer an error of our own with its status and the request's id."""
        status = status_of(error)
        identifier = getattr(request.state, "identifier", "") or _identifier(request, None)
        app.state.host.log_refusal(identifier, status, str(error))
        headers = {REQUEST_ID: identifier}
        if isinstance(error, BusyError):
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return as_json({"error": str(error)}, status, headers)

    async def http(_request: Request, error: Exception) -> Response:
        """Answer an error of the protocol."""
        status = error.status_code if isinstance(error, HTTPException) else 400
        said = error.detail if isinstance(error, HTTPException) else "wrong request"
        return as_json({"error": str(said)}, status)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        ConcertinaError: ours,
        HTTPException: http,
        RequestValidationError: http,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
