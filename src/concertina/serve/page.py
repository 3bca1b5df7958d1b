"""The page for people at `/`: its files, live figures, the plot, and one sample through every subnet.

The page holds no name that came with a file: all names reach it as JSON and are put into it as text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import concertina
from concertina.errors import BusyError, ConcertinaError, how_to_install
from concertina.report import pareto_svg, report_data
from concertina.report.plots import PLOT_STYLE
from concertina.report.wording import shown
from concertina.serve.host import Host
from concertina.serve.http import NotServedError, as_json, body_of, status_of
from concertina.serve.picture import Frame, white_of
from concertina.serve.session import Session
from concertina.serve.trial import largest_trial, read_sample, tried, written_sample

try:
    from fastapi import FastAPI, Request, Response
except ImportError as error:
    from concertina.errors import ExtraError

    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Nothing is loaded from elsewhere, nothing is shown elsewhere, and no text is ever run."""
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
READ = ["GET", "HEAD"]
NARROWEST, WIDEST = 300, 1200
"""Pixels across of a plot."""


def add_page(app: FastAPI, host: Host) -> None:
    """Put the page and what it asks for into an application.

    Args:
        app: The application.
        host: Holds the session.
    """
    texts = _files()

    @app.api_route("/", methods=READ, include_in_schema=False)
    async def page() -> Response:
        """The page itself; it is the same for every file."""
        return _text("page.html", texts)

    @app.api_route("/page/state", methods=READ, include_in_schema=False)
    async def state() -> Response:
        """How the server is, and what the last two minutes were like."""
        return _json(await asyncio.to_thread(state_of, host))

    @app.api_route("/page/model", methods=READ, include_in_schema=False)
    async def model(request: Request) -> Response:
        """What is served."""
        return await _told(request, host, _model)

    @app.api_route("/page/plot.svg", methods=READ, include_in_schema=False)
    async def plot(request: Request) -> Response:
        """The figures of all subnets against their cost."""
        return await _told(request, host, _plot)

    @app.post("/page/try", include_in_schema=False)
    async def trial(request: Request) -> Response:
        """One sample through every subnet."""
        return await _told(request, host, _trial)

    @app.api_route("/page/{name}", methods=READ, include_in_schema=False)
    async def file(name: str) -> Response:
        """A file of the page."""
        return _text(name, texts) if name in texts else _json({"error": "Not Found"}, 404)


def state_of(host: Host) -> dict[str, Any]:
    """Return how the server is as JSON values: what the page asks for every other second."""
    session = host.session
    return {
        "version": concertina.__version__,
        "revision": host.revision,
        "name": host.name,
        "ready": session is not None,
        "closing": host.closed,
        "waiting": session.waiting if session is not None else 0,
        "slowdown": round(session.slowdown, 3) if session is not None else 1.0,
        "answered": [{"name": name, "answers": count} for name, count in host.recent.since_start.items()],
        "recent": host.recent.told(),
        **host.arriving(),
    }


def model_of(session: Session, name: str) -> dict[str, Any]:
    """Return what is served as JSON values: each subnet with its figures, and what samples may be.

    Args:
        session: What answers.
        name: What clients call it.
    """
    core, signature, settings = session.family.core, session.signature, session.settings
    times = session.times_ms
    metric = session.family.task.metric
    return {
        "name": name,
        "shown": shown(name),
        "source": shown(core.source),
        "licence": shown(core.licence),
        "task": shown(core.task),
        "classes": len(core.class_names),
        "runtime": settings.runtime,
        "budget_ms": settings.latency_budget_ms,
        "metric": shown(metric.name),
        "is_share": metric.unit == "share",
        "sample": sample_of(session),
        "first_input": signature.inputs[0].name,
        "inputs": [
            {
                "name": slot.name,
                "shape": list(slot.shape[1:]),
                "longest": slot.longest,
                "whole": not slot.dtype.is_floating_point,
            }
            for slot in signature.inputs
        ],
        "points": [
            {
                "name": point.name,
                "shown": shown(point.name, 60),
                "share": point.share,
                "macs": point.macs,
                "size_bytes": point.size_bytes,
                "latency_ms": min(times[point.name].items())[1],
                "quality": dict(point.metrics).get(metric.name),
            }
            for point in session.points
        ],
    }


def sample_of(session: Session) -> dict[str, Any]:
    """Return what a sample is: an image of some size, or rows of numbers."""
    frame = Frame.of(session.signature)
    if frame is None:
        return {"kind": "numbers"}
    sides = {"channels": frame.channels, "height": frame.height, "width": frame.width, "longest": frame.longest}
    return {"kind": "image", **sides, "white": white_of(session.family.core.preprocess)}


async def _told(request: Request, host: Host, tell: Any) -> Response:
    """Return what is told of the open session; what is wrong is told with its status, and not counted as traffic."""
    try:
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise NotServedError("page", asked="a request that another site made", allowed="those of the page itself")
        session = host.session
        if session is None:
            raise BusyError("the model is warming up", retry_after_s=1.0)
        response: Response = await tell(request, host, session)
    except ConcertinaError as error:
        return _json({"error": str(error)}, status_of(error))
    return response


async def _model(_request: Request, host: Host, session: Session) -> Response:
    return _json(model_of(session, host.name) | {"revision": host.revision})


async def _plot(request: Request, _host: Host, session: Session) -> Response:
    asked = request.query_params.get("width", "")
    width = min(max(int(asked), NARROWEST), WIDEST) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else 720
    svg = await asyncio.to_thread(pareto_svg, report_data(session.family, ""), width=width, height=340)
    if not svg:
        return Response(status_code=204, headers=HEADERS)
    return Response(svg.replace(f"<style>{PLOT_STYLE}</style>\n", ""), media_type=MEDIA[".svg"], headers=HEADERS)


async def _trial(request: Request, _host: Host, session: Session) -> Response:
    body = await body_of(request, largest_trial(session))
    inputs = await asyncio.to_thread(read_sample, request.query_params, body, session)
    return _json({"answers": await tried(session, inputs), "numbers": written_sample(inputs, session.signature)})


def _files() -> dict[str, tuple[str, str]]:
    """Return name -> (text, kind) of the page's files."""
    found = {}
    for file in files("concertina.serve").joinpath("web").iterdir():
        kind = MEDIA.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            found[file.name] = file.read_text(encoding="utf-8"), kind
    found["plot.css"] = PLOT_STYLE, MEDIA[".css"]
    return found


def _text(name: str, texts: Mapping[str, tuple[str, str]]) -> Response:
    text, kind = texts[name]
    return Response(text, media_type=kind, headers=HEADERS)


def _json(data: Any, status: int = 200) -> Response:
    return as_json(data, status, HEADERS)
