"""An artifact behind an address, read range by range, with the patience that a link needs."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator

from concertina.errors import StorageError, TruncatedError
from concertina.save.address import read_address
from concertina.save.link import PASSING, BrokenError, Identity, Link, Patience, Reply, words

log = logging.getLogger("concertina")

HEAD = 1 << 16
"""Bytes of the first request: most headers, and the beginning of what follows."""
WHOLE = 1 << 26
"""A server that gives no ranges is asked once for the whole file, if that is no larger."""
FURTHER = 1 << 14
"""So many new bytes count as getting further: the tries start anew."""
ANOTHER = "Another file lies there now: open it again."
OPEN_TO_ALL = "Concertina sends no credentials: the file must be readable without."


class HttpSource:
    """A file behind an http or https address.

    The first request takes the head of the file and learns its size; every later one takes a range of the same file, as
    its ETag or date tells. What breaks is asked for again from where it broke.

    Args:
        address: Where the file lies.
        patience: How long to wait for the server.

    Raises:
        StorageError: The address is none that can be asked for, the server refuses, is silent, gives neither ranges nor
            a file small enough to be taken whole, or redirects in circles.
    """

    def __init__(self, address: str, *, patience: Patience | None = None) -> None:
        origin = read_address(address)
        self.name, self._patience = origin.shown, patience or Patience()
        self._link = Link(origin, self._patience)
        self._identity: Identity | None = None
        self._head, self._has_ranges = b"", True
        self._received = 0
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._finalizer = weakref.finalize(self, self._link.close)
        try:
            self._head = self._fetched(0, HEAD)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the file, as the server says."""
        return self._identity.size if self._identity is not None else 0

    @property
    def bytes_received(self) -> int:
        """Bytes of the file that have come over the link so far, those that came twice counted twice."""
        return self._received

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on.

        Raises:
            TruncatedError: The file ends before.
            StorageError: The server refuses, is silent, or has another file by now.
        """
        stop = offset + length
        if stop > self.size:
            asked = f"{max(0, self.size - offset)} of {length} bytes at {offset}"
            raise TruncatedError(f"file {self.name!r}", asked=asked, allowed="the whole file")
        known = self._head[offset:stop]
        if len(known) == length:
            return known
        with self._lock:
            return known + self._fetched(offset + len(known), stop)

    def close(self) -> None:
        """Close the connection and give up whatever is being waited for; later reads fail."""
        self._closed.set()
        self._finalizer()

    def _fetched(self, start: int, stop: int) -> bytes:
        """Return a range, or the whole file where the server knows no ranges."""
        parts: list[bytes] = []
        at, tries = start, 1
        while self._identity is None or at < self._end(stop):
            since = at
            try:
                for piece in self._pieces(at, self._end(stop)):
                    parts.append(piece)
                    at += len(piece)
                    self._received += len(piece)
            except BrokenError as error:
                self._link.close()
                tries = 2 if self._has_ranges and at - since >= FURTHER else tries + 1
                self._wait(tries, error)
                if not self._has_ranges:
                    parts, at = [], start
        return b"".join(parts)

    def _end(self, stop: int) -> int:
        if self._identity is None:
            return stop
        return min(stop, self.size) if self._has_ranges else self.size

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Ask once, check the head of the answer, and give what comes of the range."""
        if self._closed.is_set():
            raise self._refused("the source is closed")
        reply = self._link.ask(start, stop)
        most = self._checked(reply, start, stop)
        got = 0
        for piece in reply.pieces(most):
            got += len(piece)
            yield piece
        if got < most:
            raise BrokenError(f"the link broke after {got:,} of {most:,} bytes")
        self._link.settle()
        if start + got < self._end(stop):
            raise BrokenError("a shorter range than was asked for")

    def _checked(self, reply: Reply, start: int, stop: int) -> int:
        """Return how many bytes of the answer belong to the range.

        Raises:
            BrokenError: It may go better the next time.
            StorageError: It will not.
        """
        if reply.status in PASSING or (reply.status >= 400 and self._link.moved and reply.span is None):
            raise BrokenError(words(reply.status), reply.pause_s)
        if reply.encoding:
            raise self._refused(f"a body that is encoded: {reply.encoding[:20]!r}", "the file's own bytes")
        if reply.status == 200:
            return self._taken_whole(reply, start)
        if reply.status not in (206, 416):
            do = OPEN_TO_ALL if reply.status in (401, 403, 407) else "Check the address."
            raise self._refused(words(reply.status), "a file that can be read", do)
        first, last, size = reply.span or (-1, -1, -1)
        if size >= 0:
            self._check_same(reply, size)
        if reply.status == 416 and size == 0:
            return 0
        if reply.status == 416 or first != start or last > max(stop, start + 1):
            raise self._refused("another range than was asked for", f"bytes {start} to {stop}")
        return last - first

    def _taken_whole(self, reply: Reply, start: int) -> int:
        """Return the size of a whole file that came in the place of a range, where it can be taken."""
        if self._identity is not None and self._has_ranges:
            if reply.length is not None:
                self._check_same(reply, reply.length)
            raise self._refused("the whole file in the place of a range", "ranges, as before")
        if reply.length is None or reply.length > WHOLE or start:
            size = "of unknown size" if reply.length is None else f"of {reply.length:,} bytes"
            do = "Put it on a server that gives ranges, or fetch the file and open that."
            allowed = f"HTTP ranges, or at most {WHOLE:,} bytes"
            raise self._refused(f"a server without ranges and a file {size}", allowed, do)
        self._check_same(reply, reply.length)
        if self._has_ranges:
            log.warning("%s: the server gives no ranges, so the whole file is taken at once", self.name)
        self._has_ranges = False
        return reply.length

    def _check_same(self, reply: Reply, size: int) -> None:
        """Refuse an answer about another file than the one that was opened."""
        found = reply.identity(size)
        if self._identity is None:
            self._identity = found
        elif difference := self._identity.differs(found):
            raise self._refused(f"another file by now: {difference}", "the file that was opened", ANOTHER)

    def _wait(self, tries: int, error: BrokenError) -> None:
        """Wait before the next try; refuse where there were enough."""
        if self._closed.is_set():
            raise self._refused("the source is closed") from error
        if tries > self._patience.tries:
            do = "What was read stays usable; try again later."
            raise self._refused(f"{error}, {self._patience.tries} times in a row", do=do) from error
        pause_s = max(self._patience.first_pause_s * 2.0 ** (tries - 2), error.pause_s)
        log.info("%s: %s; trying again", self.name, error)
        self._closed.wait(min(pause_s, self._patience.longest_pause_s))

    def _refused(self, asked: str, allowed: str = "", do: str = "") -> StorageError:
        self._link.close()
        return StorageError(f"address {self.name!r}", asked=asked, allowed=allowed, do=do)
