"""What a server holds: the session that answers now, its name, and its log."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from concertina.errors import ConcertinaError
from concertina.serve.counts import Counts, Refusals
from concertina.serve.recent import Recent
from concertina.serve.session import Session
from concertina.serve.settings import Answer

log = logging.getLogger("concertina")
Line = Callable[[str], None]
"""Takes one line of the request log."""


class Host:
    """Opens a session while the server already says that it lives, and closes it in peace.

    Args:
        name: What clients call the model.
        opening: Opens the session.
        line: Takes the request log, one JSON object a line; nothing is logged without it.
    """

    def __init__(self, name: str, opening: Callable[[], Session], line: Line | None = None) -> None:
        self.name, self._opening, self._line = name, opening, line
        self._session: Session | None = None
        self._refused = Refusals()
        self.recent = Recent()
        """The last two minutes, for the page."""
        self._run, self._sessions = uuid.uuid4().hex[:8], 0
        self._closed = False
        self._opened = threading.Event()
        self._swapping = threading.Lock()
        self.error: BaseException | None = None
        """Why the session could not be opened; None while all is well."""
        self.failed: Callable[[], None] = lambda: None
        """Called when the session cannot be opened."""
        self.opened: Callable[[], None] = lambda: None
        """Called when it is open."""
        self.arriving: Callable[[], dict[str, Any]] = dict
        """Tells for the metadata how far a file is that still arrives."""

    @property
    def session(self) -> Session | None:
        """The session that answers now; None before it is ready and after it is closed."""
        return None if self._closed else self._session

    @property
    def ready(self) -> bool:
        """Whether every subnet has been warmed up and requests are taken."""
        return self.session is not None

    @property
    def closed(self) -> bool:
        """Whether no more requests are taken."""
        return self._closed

    @property
    def revision(self) -> str:
        """Changes with every session that takes over, and with every process."""
        return f"{self._run}-{self._sessions}"

    def start(self) -> None:
        """Open the session in a thread of its own."""
        threading.Thread(target=self._open, name="concertina-opening", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the session is open, or cannot be; return whether one of both has come."""
        return self._opened.wait(timeout_s)

    def reload(self) -> bool:
        """Open the session anew, let it take over, and return whether it did; where it cannot be opened all stays."""
        return self.take_over(self._opening)

    def take_over(self, opening: Callable[[], Session | None]) -> bool:
        """Let another session take over, and return whether it did.

        No request fails for it: those that wait are answered by the old session, new ones by the new.

        Args:
            opening: Opens it; None where there is none after all.
        """
        self._opened.wait()
        with self._swapping:
            old = self.session
            if old is None:
                return False
            try:
                fresh = opening()
            except Exception as error:  # whatever is wrong with the new file, the old one goes on
                log.warning("the new file is not served, the old one is: %s", error)
                return False
            if fresh is None:
                return False
            fresh.counts = old.counts
            self._session = fresh
            self._sessions += 1
            log.info("now serving: %s", fresh)
        old.close()
        return True

    def close(self) -> None:
        """Take no more requests and answer those that wait."""
        self._opened.wait()
        with self._swapping:
            self._closed = True
        if self._session is not None:
            self._session.close()

    def metrics(self) -> str:
        """Return the figures for Prometheus."""
        session = self.session
        gauges = {"ready": ("Whether requests are answered.", float(self.ready))}
        if session is not None:
            gauges["waiting"] = ("Requests in the queue.", float(session.waiting))
            gauges["slowdown"] = ("How much longer calls take than when they were measured.", session.slowdown)
        return (session.counts if session is not None else Counts()).text(gauges) + self._refused.text()

    def log_answer(self, identifier: str, answer: Answer, total_ms: float) -> None:
        """Count and log one answer."""
        self.recent.answer(answer.point, total_ms, in_time=None if answer.budget_ms is None else answer.in_time)
        if self._line is not None:
            self._write(
                id=identifier,
                status=200,
                subnet=answer.point,
                queue_ms=round(answer.queue_ms, 3),
                compute_ms=round(answer.compute_ms, 3),
                total_ms=round(total_ms, 3),
                batch=answer.batch,
                in_time=answer.in_time,
                why=answer.why,
            )

    def log_refusal(self, identifier: str, status: int, error: str) -> None:
        """Count and log one request without an answer."""
        self._refused.add(status)
        self.recent.refusal(status)
        if self._line is not None:
            self._write(id=identifier, status=status, error=error[:300])

    def _open(self) -> None:
        try:
            self._session = self._opening()
            self.opened()
        except BaseException as error:  # told by whoever waits for the session
            self.error = error
            if not isinstance(error, ConcertinaError):
                log.exception("the session could not be opened")
            self.failed()
        finally:
            self._opened.set()

    def _write(self, **facts: object) -> None:
        if self._line is not None:
            self._line(json.dumps({"time_s": round(time.time(), 3), **facts}))
