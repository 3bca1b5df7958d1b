"""A file that is served while it arrives: from its smallest point on, each further one as soon as it is there."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

from concertina.errors import ConcertinaError
from concertina.family import Family
from concertina.family import open as open_file
from concertina.save import HttpSource, open_artifact
from concertina.serve.host import Host
from concertina.serve.session import Session
from concertina.serve.settings import Settings

log = logging.getLogger("concertina")


class Arriving:
    """Opens a family behind an address from its smallest point, and grows it beside the session that answers.

    Each point that has come gives a new session, warmed up and timed, which takes over without a failed request. Where
    the rest does not come, what is there is served on. Modules can be named once the whole file is there. With a floor
    the whole file is read first, as the figures that a floor is held against come last in it.

    Args:
        source: The file behind its address.
        address: The same, to open it anew at a reload.
        settings: How to serve.
    """

    def __init__(self, source: HttpSource, address: str, settings: Settings) -> None:
        self._source, self._address, self._settings = source, address, settings
        ends = open_artifact(source).ends
        self._order = sorted(ends, key=lambda name: ends[name])
        self._family: Family | None = None
        self._replaced = False
        self.error = ""
        """Why the rest did not come; empty while all is well."""

    def open(self) -> Session:
        """Return a session over the smallest point; called again (a reload), one over the whole file as it is then.

        Raises:
            ConcertinaError: As for `Session`.
        """
        if self._family is not None:
            return self._opened_anew()
        upto = None if self._settings.floor else self._order[0]
        self._family = open_file(self._source, upto=upto)
        return self._session()

    def told(self) -> dict[str, Any]:
        """Return how far it is, for the model's metadata."""
        points = self._family.points if self._family is not None else ()
        there = {point.name for point in points}
        to_come = [] if self._replaced else [name for name in self._order if name not in there]
        size = self._source.size
        received = size if self._replaced else min(self._source.bytes_received, size)
        told: dict[str, Any] = {"bytes": received, "of": size, "to_come": to_come}
        return {"arriving": told | ({"error": self.error} if self.error else {})}

    def follow(self, host: Host) -> None:
        """Read on in a thread of its own, once the first session is open, and let each larger one take over."""
        host.arriving = self.told
        threading.Thread(target=self._grow, args=(host,), name="concertina-arriving", daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._source.close()

    def _grow(self, host: Host) -> None:
        host.wait()
        family = self._family
        if family is None or family.complete or not host.ready:
            return
        try:
            for name in (*self._order[1:-1], None):
                self._grow_to(host, family, name)
        except Exception as error:  # whatever it is, what is there is served on
            if host.ready and not self._replaced:
                self.error = str(error)[:300]
                log.warning("the rest of the file did not come, what is there is served on: %s", self.error)

    def _grow_to(self, host: Host, family: Family, name: str | None) -> None:
        """Read on to a point, or to the end of the file, and serve what is there now."""
        if name in {point.name for point in family.points}:
            return
        family.grow(name)
        if not host.take_over(self._larger) and host.ready and not self._replaced:
            raise ConcertinaError("a session with more points cannot be opened", do="The log says why.")

    def _larger(self) -> Session | None:
        return None if self._replaced else self._session()

    def _session(self) -> Session:
        family = self._family
        if family is None:
            raise ConcertinaError("nothing has been read yet")
        if not family.complete:
            return Session(family, replace(self._settings, modules=False))
        _ = [family.modules[name] for name in family.modules]  # read now: nobody shall wait for a link later
        return Session(family, self._settings)

    def _opened_anew(self) -> Session:
        source = HttpSource(self._address)
        try:
            session = Session(open_file(source), self._settings)
        except BaseException:
            source.close()
            raise
        self._replaced, self.error = True, ""
        return session
