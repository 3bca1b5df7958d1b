"""An open-loop client in a process of its own: every request is sent when it is due, whoever still waits.

Run as a file, with a plan as JSON on stdin; it answers with JSON on stdout. Nothing but the standard library is loaded,
so that it starts at once and costs little. Times are counted from when a request was *due*: neither a slow server nor a
late client can hide a wait (no coordinated omission). How late it sent each one is told too.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPIN_S = 0.002
"""So long before a request is due the client stops sleeping: a selector wakes up only to the millisecond."""
MOST_READ = 65_536
READY_CONNECTIONS = 48


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    json_length: int
    """Bytes of JSON before the tensors; all of the body where there are none."""
    body: bytes
    end: int
    """Bytes of the whole answer."""


def reply_in(received: bytes | bytearray) -> Reply | None:
    r"""Return the answer that has been received, None while it is not whole.

    Example:
        >>> reply_in(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").body
        b'{}'
    """
    ends = received.find(b"\r\n\r\n")
    if ends < 0:
        return None
    first, *lines = bytes(received[:ends]).decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    start, length = ends + 4, int(fields.get("content-length", "0"))
    if len(received) < start + length:
        return None
    body = bytes(received[start : start + length])
    return Reply(
        int(first.split()[1]), int(fields.get("inference-header-content-length", length)), body, start + length
    )


def request_head(path: str, host: str, told: bytes, tensor_bytes: int) -> bytes:
    """Return all of an HTTP request but its tensor.

    Args:
        path: Of the model's infer route.
        host: Address, as HTTP wants it.
        told: The JSON.
        tensor_bytes: Bytes that follow.
    """
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {len(told)}",
        f"Content-Length: {len(told) + tensor_bytes}",
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + told


def connected(host: str, port: int) -> socket.socket:
    """Return a connection that sends at once."""
    made = socket.create_connection((host, port), timeout=10.0)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class _Connection:
    """One connection; it carries one request at a time."""

    def __init__(self, made: socket.socket) -> None:
        made.setblocking(False)
        self.socket, self.received, self.unsent = made, bytearray(), memoryview(b"")
        self.number = -1
        """The request under way; -1 for none."""


class Client:
    """Sends requests when they are due and collects what comes back.

    Args:
        host: Address of the server.
        port: Of the server.
        requests: Number of an item -> the bytes of its request, in two parts.
    """

    def __init__(self, host: str, port: int, requests: Sequence[tuple[bytes, memoryview]]) -> None:
        self._address, self._requests = (host, port), requests
        self._selector = selectors.DefaultSelector()
        self._free = [self._opened() for _ in range(READY_CONNECTIONS)]
        self._waiting = 0

    def run(self, due: Sequence[float], items: Sequence[int], patience_s: float) -> dict[str, list[Any]]:
        """Return, for each request, when it was sent and answered (seconds from the start) and what the answer was.

        Args:
            due: Seconds at which each is to be sent, rising.
            items: Which item each of them sends.
            patience_s: How long after the last one answers are waited for.
        """
        count, sent = len(due), 0
        self._told: dict[str, list[Any]] = {"sent": [None] * count, "done": [None] * count, "replies": [None] * count}
        self._start = time.perf_counter() + 0.02
        ends = due[-1] + patience_s if count else 0.0
        while sent < count or (self._waiting and self._now() < ends):
            while sent < count and due[sent] <= self._now():
                self._send(sent, items[sent])
                sent += 1
            wait = (due[sent] - self._now() - SPIN_S) if sent < count else 0.1
            for key, ready in self._selector.select(max(0.0, wait)):
                self._advance(key.data, ready)
        return self._told

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _opened(self) -> _Connection:
        made = _Connection(connected(*self._address))
        self._selector.register(made.socket, selectors.EVENT_READ, made)
        return made

    def _send(self, number: int, item: int) -> None:
        head, tensor = self._requests[item]
        try:
            link = self._free.pop() if self._free else self._opened()
            self._told["sent"][number] = self._now()
            link.number, link.unsent = number, memoryview(b"".join((head, tensor)))
            self._waiting += 1
            self._push(link)
        except OSError:
            return  # the server takes no more connections: this request has no answer

    def _push(self, link: _Connection) -> None:
        """Send as much as goes; the rest when the socket takes it."""
        try:
            link.unsent = link.unsent[link.socket.send(link.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(link)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.unsent else 0)
        if self._selector.get_key(link.socket).events != events:
            self._selector.modify(link.socket, events, link)

    def _advance(self, link: _Connection, ready: int) -> None:
        if ready & selectors.EVENT_WRITE:
            self._push(link)
        if not ready & selectors.EVENT_READ:
            return
        try:
            part = link.socket.recv(MOST_READ)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self._drop(link)
            return
        link.received += part
        reply = reply_in(link.received)
        if reply is not None and link.number >= 0:
            self._told["done"][link.number], self._told["replies"][link.number] = self._now(), reply
            link.received.clear()
            link.number = -1
            self._waiting -= 1
            self._free.append(link)

    def _drop(self, link: _Connection) -> None:
        """Forget a connection that the server has closed; its request has no answer."""
        self._waiting -= link.number >= 0
        if link in self._free:
            self._free.remove(link)
        self._selector.unregister(link.socket)
        link.socket.close()


def plain(reply: Reply | None) -> dict[str, Any]:
    """Return what matters of an answer as JSON values; of none, status 0."""
    if reply is None:
        return {"status": 0, "point": "", "output": ""}
    told = json.loads(reply.body[: reply.json_length]) if reply.status == 200 else {}
    return {
        "status": reply.status,
        "point": told.get("model_version", ""),
        "output": reply.body[reply.json_length :].hex(),
    }


def main() -> None:
    """Read a plan from stdin, run it, and write what happened to stdout."""
    plan = json.load(sys.stdin)
    if plan["cores"]:
        os.sched_setaffinity(0, plan["cores"])
    with Path(plan["inputs"]).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        size, head = plan["item_bytes"], plan["head"].encode("latin-1")
        whole = memoryview(bytes(held))
        requests = [(head, whole[at : at + size]) for at in range(0, len(whole), size)]
        client = Client(plan["host"], plan["port"], requests)
        gc.disable()
        told = client.run(plan["due"], plan["items"], plan["patience_s"])
    json.dump({**told, "replies": [plain(reply) for reply in told["replies"]]}, sys.stdout)


if __name__ == "__main__":
    main()
