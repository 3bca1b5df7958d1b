"""A family served by Ray Serve: as many replicas as are asked for, each one the same server as `concertina serve`.

Source: Ray Serve (Moritz et al. 2018, Ray, arXiv:1712.05889); it brings the proxy, the replicas and their scaling.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from concertina.errors import ExtraError, InputError, TruncatedError, did_you_mean, how_to_install
from concertina.save import is_address, open_artifact
from concertina.serve.app import make_app
from concertina.serve.host import Host
from concertina.serve.session import Session
from concertina.serve.settings import Settings

log = logging.getLogger("ray.serve")

DRAIN_S = 30.0
"""Seconds that a replica has to answer what it has taken, once it is to end."""
Message = MutableMapping[str, Any]


def deployment(file: str | Path, *, name: str = "", settings: Settings | None = None, **options: Any) -> Any:
    """Return a Ray Serve application that answers the Open Inference Protocol, for `ray.serve.run`.

    Every replica opens the file, warms up and times its points, and chooses for each request as a server of its own.

    Args:
        file: A family file, at the same path on every machine of the cluster, or its http or https address.
        name: What clients call the model; the file's name unless said.
        settings: How each replica serves.
        **options: As for `ray.serve.deployment`: num_replicas, autoscaling_config, ray_actor_options ... Unless said, a
            replica is given as many requests at once as its queue holds, one core for each thread of a call, and
            30 seconds to end in peace.

    Raises:
        ExtraError: Ray Serve is not installed.
        InputError: There is no such file, or a setting is out of range.
        FormatError: The file is not sound, or not whole.
    """
    serve = _ray_serve()
    settings = settings or Settings()
    settings.check()
    source = _source(file)
    usual = {
        "name": "concertina",
        "max_ongoing_requests": settings.queue_limit,
        "graceful_shutdown_timeout_s": DRAIN_S,
        "ray_actor_options": {"num_cpus": settings.threads or 1},
    }
    kind = serve.deployment(serve.ingress(Forward())(Replica), **usual | options)
    return kind.bind(source, name or Path(source.partition("?")[0]).stem, settings)


def application(arguments: Mapping[str, Any]) -> Any:
    """Return the application for `serve run concertina.serve.ray:application file=FILE`, or for a config file of Ray.

    Args:
        arguments: file=, name=, and any of `Settings`, as texts or values; replicas= for their number.

    Raises:
        InputError: One of them is unknown or wrong.
    """
    given = dict(arguments)
    if not given.get("file"):
        raise InputError("argument file", asked="none", allowed="a family file, or its address")
    file, name, replicas = str(given.pop("file")), str(given.pop("name", "")), given.pop("replicas", 1)
    kinds = {entry.name: str(entry.type) for entry in fields(Settings) if entry.name not in ("times_ms", "modules")}
    read = {key: _value(key, value, kinds) for key, value in given.items()}
    return deployment(file, name=name, settings=Settings(**read), num_replicas=_value("replicas", replicas, {}))


@dataclass(frozen=True)
class Forward:
    """The web application that Ray Serve sees in a replica: hands each request to the replica's own."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request, by the replica whose process this is."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await _ray_serve().get_replica_context().servable_object.web(scope, receive, send)


class Replica:
    """One server in a process of Ray.

    Args:
        source: The file or its address.
        name: What clients call the model.
        settings: How to serve.

    Raises:
        ConcertinaError: As for `Session`.
    """

    def __init__(self, source: str, name: str, settings: Settings) -> None:
        self.host = Host(name, lambda: Session(source, settings), log.info)
        self.web = make_app(self.host, page=False)
        self.host.start()
        self.host.wait()
        if self.host.error is not None:
            raise self.host.error

    def check_health(self) -> None:
        """Tell Ray that this replica answers.

        Raises:
            RuntimeError: It does not; Ray starts another.
        """
        if not self.host.ready:
            raise RuntimeError("the session is closed")

    def __del__(self) -> None:
        """Let go of the session; Ray calls it once the replica has answered what it had taken."""
        if hasattr(self, "host"):
            self.host.close()


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """Answer what a server asks at its start and end: the replica is there before, and ends by itself."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _source(file: str | Path) -> str:
    """Return a file as replicas open it, once its header is seen to be sound; an address is left to them."""
    if is_address(str(file)):
        return str(file)
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError(f"family file {str(file)!r}", asked="no such file", do="Give one that every machine sees.")
    with open_artifact(path) as artifact:
        if not artifact.complete:
            raise TruncatedError(f"family file {str(file)!r} is not whole", do="Get the rest of it.")
    return str(path)


def _value(name: str, value: Any, kinds: Mapping[str, str]) -> Any:
    """Return an argument, read from a text where it is no text by nature.

    Raises:
        InputError: It is unknown, or no number where one is wanted.
    """
    known = ("file", "name", "replicas", *kinds)
    if name not in known:
        do = did_you_mean(name, known)
        raise InputError("argument", asked=repr(name)[:50], allowed=", ".join(known), do=do)
    if name == "floor":
        return tuple(value.split(",")) if isinstance(value, str) else tuple(value)
    if not isinstance(value, str) or kinds.get(name) == "str":
        return value
    try:
        return float(value) if "float" in kinds.get(name, "") else int(value)
    except ValueError as error:
        raise InputError(f"argument {name}", asked=repr(value)[:50], allowed="a number") from error


def _ray_serve() -> Any:
    try:
        return importlib.import_module("ray.serve")
    except ImportError as error:
        missing = error.name or "ray"
        raise ExtraError("Ray Serve is not installed", asked=missing, do=how_to_install("ray")) from error
