"""The server process: uvicorn over the application, ended in peace by SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable

from concertina.errors import ExtraError, StorageError, how_to_install
from concertina.serve.app import make_app
from concertina.serve.host import Host

try:
    import uvicorn
except ImportError as error:
    raise ExtraError(
        "the server needs a package that is not installed", asked=str(error.name), do=how_to_install("serve")
    ) from error

DRAIN_S = 30
"""Seconds that open requests have to end after SIGTERM."""
SWITCH_S = 0.0005
"""After so long the thread that computes gets its turn beside the one that reads requests; Python's own 5 ms are longer
than many a call of a network."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; port 0 takes any that is free.

    Raises:
        StorageError: The address is taken, or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise _refused(host, port, error) from error
    return made


def run(host: Host, listening: socket.socket, ready: Callable[[], None], *, page: bool = True) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have been taken are answered before it ends.

    SIGHUP opens the file anew; when that fails, the old one is served on.

    Args:
        host: Holds the session.
        listening: A bound socket.
        ready: Called once, as soon as every subnet is warmed up.
        page: Whether there is a page for people at `/`.

    Raises:
        ConcertinaError: The session cannot be opened; whatever else that raises too.
    """
    config = uvicorn.Config(
        make_app(host, page=page),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_S,
        server_header=False,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        """Let the server drain and end."""
        server.should_exit = True

    host.failed, host.opened = stop, ready
    handlers: dict[int, Callable[..., None]] = {signal.SIGTERM: lambda *_: None}  # uvicorn hands it on when it is done
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: threading.Thread(target=host.reload, daemon=True).start()
    sys.setswitchinterval(SWITCH_S)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.close()
    if host.error is not None:
        raise host.error


def _refused(host: str, port: int, error: Exception) -> StorageError:
    do = "Give another --port (0 for any that is free) or --host."
    return StorageError(f"address {host[:100]}:{port}", asked=getattr(error, "strerror", None) or str(error), do=do)
