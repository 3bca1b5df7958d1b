"""What the server costs: its time over that of the bare network, and memory that switching might keep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from concertina.bench.figures import scope
from concertina.bench.serving.generator import Reply, connected, reply_in, request_head
from concertina.bench.serving.process import LOCAL, Cores, Server, pinned, resident_bytes, served
from concertina.errors import ConcertinaError
from concertina.family import Family, fit
from concertina.load import load
from concertina.load.data import ArrayData
from concertina.measure.intervals import median_interval, quantile
from concertina.measure.latency import module_runner
from concertina.nest import materialize
from concertina.train import Reporter
from concertina.types import Record

TINY, POINTS = "zoo:mlp", (0.25, 0.5)
SUBJECT = "mlp"
BLOCK, WARM_UP = 50, 300
OVERHEAD, HTTP, BARE = "serve_overhead_ms", "a request of one input over HTTP", "the bare network"
SERVER_GROWTH, LEAK = "the server, sizes in turns", "a control that keeps a network each time"
GROWTH = "memory_growth_bytes"


def costs(folder: Path, cores: Cores, requests: int, switches: int, tell: Reporter) -> list[Record]:
    """Measure a tiny network behind a server of its own, so that nothing but the server costs time.

    Args:
        folder: Where its file may be written.
        cores: Where server and client run.
        requests: How many are timed, and as many bare calls.
        switches: How often the size changes, for memory.
        tell: Told where it stands.
    """
    family = _tiny()
    file = folder / f"{SUBJECT}.concertina"
    family.save(file)
    with served(file, cores, "--threads", "1") as server, pinned(cores.client):
        link = _Link(server)
        tell("server over the bare network", 0.0)
        found = list(_overhead(family, link, requests))
        tell("memory over many switches", 0.0)
        return [*found, *_growths(family, link, switches)]


class _Link:
    """One kept connection that asks for one thing at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._socket = connected(LOCAL, server.port)
        self._tensor = torch.zeros(1, 1, 8, 8).numpy().tobytes()

    def request(self, point: str = "") -> bytes:
        """Return the bytes of a request for a point."""
        entry = {
            "name": self.server.metadata["inputs"][0]["name"],
            "datatype": "FP32",
            "shape": [1, 1, 8, 8],
            "parameters": {"binary_data_size": len(self._tensor)},
        }
        told = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        path = f"/v2/models/{self.server.model}{f'/versions/{point}' if point else ''}/infer"
        return request_head(path, LOCAL, told, len(self._tensor)) + self._tensor

    def ask(self, request: bytes) -> Reply:
        """Return the answer to a request."""
        self._socket.sendall(request)
        received = bytearray()
        while (reply := reply_in(received)) is None:
            if not (part := self._socket.recv(65_536)):
                raise ConcertinaError("the server hung up")
            received += part
        if reply.status != 200:
            raise ConcertinaError("the server refused a plain request", asked=str(reply.body[:200]))
        return reply


def _tiny() -> Family:
    core = load(TINY)
    inputs = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = ArrayData((inputs, torch.arange(64) % len(core.class_names)), core.class_names)
    return fit(core, noise, points=POINTS, epochs=0, criterion="magnitude-l2", order="criterion")


def _overhead(family: Family, link: _Link, requests: int) -> Iterator[Record]:
    """Time requests and bare calls in turns, block by block; the bare network has the server's core meanwhile."""
    full = materialize(family.view(family.points[-1].name))
    bare = module_runner(full, torch.zeros(1, 1, 8, 8))
    asked = link.request()
    times: dict[str, list[float]] = {HTTP: [], BARE: []}
    for turn in range(-WARM_UP // BLOCK, max(1, requests // BLOCK)):
        over, alone = _timed(lambda: link.ask(asked)), list[float]()
        with pinned(link.server.cores.server):
            alone = _timed(bare)
        if turn >= 0:
            times[HTTP] += over
            times[BARE] += alone
    for who, taken in times.items():
        low, high = median_interval(taken) or (None, None)
        where = scope(SUBJECT, who)
        yield Record("", "latency_ms_median", quantile(taken, 0.5), "ms", len(taken), low, high, scope=where)
    blocks = [
        quantile(times[HTTP][at : at + BLOCK], 0.5) - quantile(times[BARE][at : at + BLOCK], 0.5)
        for at in range(0, len(times[HTTP]), BLOCK)
    ]
    low, high = median_interval(blocks) or (min(blocks), max(blocks))
    yield Record("", OVERHEAD, quantile(blocks, 0.5), "ms", len(times[HTTP]), low, high, scope=scope(SUBJECT, HTTP))


def _timed(call: Callable[[], object]) -> list[float]:
    """Return the milliseconds of each call of a block."""
    found = []
    for _ in range(BLOCK):
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return found


def _growths(family: Family, link: _Link, switches: int) -> Iterator[Record]:
    """Yield by how much memory grows while the size changes with each request, and beside a control that leaks."""
    names = [point.name for point in family.points]
    asked = [link.request(name) for name in names]
    kept: list[object] = []
    own = _grown(lambda i: link.ask(asked[i % len(asked)]), switches, link.server.pid)
    leak = _grown(lambda i: kept.append(materialize(family.view(names[i % len(names)]))), switches // 2, "self")
    for who, grown in ((SERVER_GROWTH, own), (LEAK, leak)):
        if grown is not None:
            yield Record("", GROWTH, float(grown), "bytes", switches, scope=scope(SUBJECT, who))


def _grown(switch: Callable[[int], object], switches: int, pid: int | str) -> int | None:
    for i in range(WARM_UP):
        switch(i)
    before = resident_bytes(pid)
    for i in range(switches):
        switch(i)
    after = resident_bytes(pid)
    return None if before is None or after is None else after - before
