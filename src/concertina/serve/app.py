"""The web application: the Open Inference Protocol over HTTP, health, and figures for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import concertina
from concertina.errors import ConcertinaError, how_to_install
from concertina.serve.host import Host
from concertina.serve.http import as_json
from concertina.serve.page import add_page
from concertina.serve.protocol import model_metadata, server_metadata

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import PlainTextResponse
    from starlette.types import Receive, Scope, Send

    from concertina.serve.description import INFER, TEXT, answers, describe, infer_answers
    from concertina.serve.inferring import failed, named, straight
    from concertina.serve.inferring import infer as infer_
except ImportError as error:
    from concertina.errors import ExtraError

    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

ANY_OBJECT = {"type": "object"}


class _App(FastAPI):
    """Answers infer requests first; all others go the usual way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the server's life."""
        if not await straight(self.state.host, scope, receive, send):
            await super().__call__(scope, receive, send)


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

    app = _App(title="Concertina", version=concertina.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.host = host
    _add_errors(app)
    _add_server_routes(app, host)
    _add_model_routes(app, host)
    if page:
        add_page(app, host)
    app.openapi = describe(app)  # type: ignore[method-assign]
    return app


def _add_server_routes(app: FastAPI, host: Host) -> None:
    @app.get("/v2", tags=["server"], responses=answers(ANY_OBJECT))
    async def server() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return server_metadata(concertina.__version__)

    @app.get("/v2/health/live", tags=["server"], responses=answers(ANY_OBJECT))
    async def live() -> dict[str, bool]:
        """Whether the server can be spoken to."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["server"], responses=answers(ANY_OBJECT) | {503: {"description": "Not yet."}})
    async def ready() -> Response:
        """Whether every subnet has been warmed up."""
        return as_json({"ready": host.ready}, 200 if host.ready else 503)

    @app.get(
        "/metrics", tags=["server"], response_class=PlainTextResponse, responses=answers({"type": "string"}, kind=TEXT)
    )
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(host.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_model_routes(app: FastAPI, host: Host) -> None:
    told, given = answers(ANY_OBJECT, 404, 503), infer_answers()

    def metadata_of(model: str, version: str) -> Response:
        """Return what a model takes and gives."""
        found = model_metadata(named(host, model, version), model)
        found["parameters"] |= host.arriving()
        return as_json(found)

    @app.get("/v2/models/{model}", tags=["model"], responses=told)
    async def metadata(model: str) -> Response:
        """What the model takes and gives, and the figures of its subnets, which are its versions."""
        return metadata_of(model, "")

    @app.get("/v2/models/{model}/versions/{version}", tags=["model"], responses=told)
    async def version_metadata(model: str, version: str) -> Response:
        """The same, where there is such a subnet."""
        return metadata_of(model, version)

    @app.get("/v2/models/{model}/ready", tags=["model"], responses=told)
    async def model_ready(model: str) -> Response:
        """Whether the model answers."""
        named(host, model, "")
        return as_json({"name": model, "ready": True})

    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["model"], responses=told)
    async def version_ready(model: str, version: str) -> Response:
        """Whether one subnet answers."""
        named(host, model, version)
        return as_json({"name": model, "ready": True})

    @app.post("/v2/models/{model}/infer", tags=["model"], responses=given, openapi_extra=INFER)
    async def infer(request: Request, model: str) -> Response:
        """Answer by the largest subnet that fits the request's budget."""
        return await infer_(host, request, model, "")

    @app.post("/v2/models/{model}/versions/{version}/infer", tags=["model"], responses=given, openapi_extra=INFER)
    async def version_infer(request: Request, model: str, version: str) -> Response:
        """Answer by the subnet that is named as the version."""
        return await infer_(host, request, model, version)


def _add_errors(app: FastAPI) -> None:
    """Make every error a short JSON object with the right status; what is wrong with a request is never a 500."""

    async def ours(request: Request, error: Exception) -> Response:
        """Answer an error of our own with its status and the request's id."""
        return failed(
            app.state.host, request, error if isinstance(error, ConcertinaError) else ConcertinaError("error")
        )

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
