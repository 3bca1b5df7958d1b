"""A server of one file on loopback that knows ranges, and every fault that a link can have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", int, int], bool]
"""Does something about the range of a request; returns whether that was the whole answer."""


@dataclass
class Content:
    """What is served, and how."""

    data: bytes
    etag: str = '"one"'
    modified: str = "Sun, 22 Nov 2026 00:00:00 GMT"
    ranges: bool = True
    bytes_per_s: float = 0.0
    """Rate of the link; 0 for as fast as it goes."""
    faults: list[Fault | None] = field(default_factory=list)
    """One for each request to come; none for those that go well."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of every request."""
    heads: list[dict[str, str]] = field(default_factory=list)
    """Head of every request."""
    sent: int = 0
    """Bytes of bodies so far."""


class Handler(BaseHTTPRequestHandler):
    """Answers GET by the content of its server."""

    protocol_version = "HTTP/1.1"

    @property
    def content(self) -> Content:
        return self.server.content  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        content, said = self.content, self.headers.get("Range", "")
        content.asked.append((self.path, said))
        content.heads.append(dict(self.headers))
        first, _, last = said.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(content.data))
        fault = content.faults.pop(0) if content.faults else None
        if fault is None or not fault(self, start, stop):
            self.answer(start, stop)

    def answer(self, start: int, stop: int, upto: int | None = None) -> None:
        """Send a range, or only the beginning of it."""
        content = self.content
        size = len(content.data)
        if not content.ranges:
            start, stop = 0, size
        if content.ranges and start >= size:
            self.say(416, {"Content-Range": f"bytes */{size}"})
            return
        told = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if content.ranges else {}
        self.say(206 if content.ranges else 200, told, content.data[start:stop] if upto is None else b"", stop - start)
        if upto is not None:
            self.wfile.write(content.data[start:upto])
            self.close_connection = True

    def say(self, status: int, headers: dict[str, str], body: bytes = b"", length: int | None = None) -> None:
        """Send one answer, as fast as the link is."""
        self.send_response(status)
        for name, value in {"ETag": self.content.etag, "Last-Modified": self.content.modified, **headers}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        rate = self.content.bytes_per_s
        step = max(1, int(rate / 50)) if rate else max(1, len(body))
        for at in range(0, len(body), step):
            self.wfile.write(body[at : at + step])
            self.content.sent += len(body[at : at + step])
            if rate:
                time.sleep(step / rate)

    def log_message(self, *_args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        """Say nothing where a client has gone."""


@contextmanager
def serving(content: Content) -> Iterator[str]:
    """Give the address of a server of this content, while it lasts."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.content = content  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/some/family.concertina"
    finally:
        server.shutdown()
        server.server_close()


def status(number: int, **headers: str) -> Fault:
    """Answer with a status and nothing else."""

    def fault(handler: Handler, _start: int, _stop: int) -> bool:
        handler.say(number, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def dropped(share: float = 0.5) -> Fault:
    """Break the connection in the middle of a range."""

    def fault(handler: Handler, start: int, stop: int) -> bool:
        handler.answer(start, stop, start + int(share * (stop - start)))
        return True

    return fault


def silent(seconds: float) -> Fault:
    """Say nothing for a while, then close."""

    def fault(handler: Handler, _start: int, _stop: int) -> bool:
        time.sleep(seconds)
        handler.close_connection = True
        return True

    return fault


def held(gate: threading.Event) -> Fault:
    """Wait before the answer until a gate is opened."""

    def fault(_handler: Handler, _start: int, _stop: int) -> bool:
        gate.wait(30)
        return False

    return fault


def changing(**fields: object) -> Fault:
    """Serve something else from this request on."""

    def fault(handler: Handler, _start: int, _stop: int) -> bool:
        for name, value in fields.items():
            setattr(handler.content, name, value)
        return False

    return fault


def trickling(handler: Handler, _start: int, _stop: int) -> bool:
    """Send the head of an answer byte by byte, without end."""
    try:
        for byte in b"HTTP/1.1 206 Partial Content\r\nX: " + b"x" * 1000:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass
    handler.close_connection = True
    return True
