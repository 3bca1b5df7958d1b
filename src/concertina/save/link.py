"""One connection to a server: ask for a range, follow redirects, and never wait for ever."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from concertina.errors import StorageError
from concertina.save.address import Address

REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""States that may be over when one asks again."""
MOST_REDIRECTS = 5
PIECE = 1 << 18
"""Bytes that are taken from a connection at once."""
WINDOW_S = 30.0
"""Over so long a stretch the rate of a link is watched."""
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_NONE = re.compile(r"bytes \*/(\d{1,15})")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for."""

    tries: int = 5
    """Times that something is asked for in a row without getting further."""
    first_pause_s: float = 0.25
    """Pause before the second try; each further one is twice as long."""
    longest_pause_s: float = 8.0
    """Longest pause, also where the server asks for more."""
    silence_s: float = 20.0
    """Longest wait for a connection, for the head of an answer, and for its next bytes."""
    bytes_per_s: float = 1024.0
    """A link that is slower for half a minute counts as broken."""


class BrokenError(Exception):
    """Something went wrong that may go well the next time.

    Args:
        reason: What it was.
        pause_s: The pause that the server asks for.
    """

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Identity:
    """What tells one file from another."""

    size: int
    etag: str
    modified: str

    def differs(self, other: Identity) -> str:
        """Return in what the other differs, in words; nothing where it may be the same file."""
        if self.size != other.size:
            return f"{other.size:,} bytes where there were {self.size:,}"
        if self.etag and other.etag:
            return "another ETag" if self.etag != other.etag else ""
        dated = self.modified and other.modified and self.modified != other.modified
        return "another date of change" if dated else ""


class Reply:
    """The answer to a request for a range.

    Args:
        response: Its head has been read.
        patience: How long to wait for the rest.
    """

    def __init__(self, response: http.client.HTTPResponse, patience: Patience) -> None:
        self._response, self._patience = response, patience
        self.status = response.status

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the server says so."""
        return self._response.length

    @property
    def span(self) -> tuple[int, int, int] | None:
        """Start, end and size of the file, as the answer says; start and end are 0 where nothing is in range."""
        said = self._response.headers.get("Content-Range", "")
        if found := _RANGE.fullmatch(said):
            start, last, size = map(int, found.groups())
            return (start, last + 1, size) if start <= last < size else None
        found = _NONE.fullmatch(said)
        return (0, 0, int(found[1])) if found else None

    def identity(self, size: int) -> Identity:
        """Return which file it is of."""
        headers = self._response.headers
        return Identity(size, headers.get("ETag", ""), headers.get("Last-Modified", ""))

    @property
    def encoding(self) -> str:
        """How the body is encoded; "" for as it is."""
        said = str(self._response.headers.get("Content-Encoding", "")).strip().lower()
        return "" if said == "identity" else said

    @property
    def pause_s(self) -> float:
        """The pause that the server asks for."""
        said = str(self._response.headers.get("Retry-After", ""))
        return float(said) if said.isascii() and said.isdecimal() and len(said) < 6 else 0.0

    def pieces(self, most: int) -> Iterator[bytes]:
        """Give the body, up to so many bytes, as it comes.

        Raises:
            BrokenError: The link breaks, falls silent, or is too slow.
        """
        since, here = time.monotonic(), 0
        while most > 0:
            with _told():
                piece = self._response.read1(min(most, PIECE))
            if not piece:
                return
            most, here, now = most - len(piece), here + len(piece), time.monotonic()
            yield piece
            if now - since > WINDOW_S:
                if here < self._patience.bytes_per_s * (now - since):
                    raise BrokenError(f"fewer than {self._patience.bytes_per_s:g} bytes a second")
                since, here = now, 0


class Link:
    """A connection that is kept from one request to the next, and made anew where it broke.

    Args:
        origin: The address asked for.
        patience: How long to wait.
    """

    def __init__(self, origin: Address, patience: Patience) -> None:
        self.origin, self._patience = origin, patience
        self._place = origin
        self._connection: http.client.HTTPConnection | None = None
        self._last: http.client.HTTPResponse | None = None

    @property
    def moved(self) -> bool:
        """Whether a redirect has led elsewhere."""
        return self._place != self.origin

    def ask(self, start: int, stop: int) -> Reply:
        """Ask for a range of the file, as far as redirects lead.

        Raises:
            BrokenError: There is no answer, this time.
            StorageError: There never will be one: too many redirects, or one to where none may lead; no certificate.
        """
        for _ in range(MOST_REDIRECTS + 1):
            response = self._sent(start, stop)
            if response.status not in REDIRECTS:
                return Reply(response, self._patience)
            location = response.headers.get("Location", "")
            self._let_go()
            self._place = self._place.redirected(location)
        self.close()
        raise StorageError(
            f"address {self.origin.shown!r}", asked=f"over {MOST_REDIRECTS} redirects", allowed="a file at their end"
        )

    def settle(self) -> None:
        """Keep the connection if the last answer was taken whole; else close it."""
        if self._last is not None and self._last.length == 0:
            self._last.close()
        else:
            self._let_go()

    def close(self) -> None:
        """Close the connection; the next request starts from the address that was asked for."""
        self._let_go()
        self._place = self.origin

    def _let_go(self) -> None:
        connection, self._connection, self._last = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(OSError, AttributeError):  # wakes whoever reads from it
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _sent(self, start: int, stop: int) -> http.client.HTTPResponse:
        place, connection = self._place, self._connection
        if connection is None:
            made = _secure if place.scheme == "https" else http.client.HTTPConnection
            connection = self._connection = made(place.host, place.port, timeout=self._patience.silence_s)
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", "User-Agent": "concertina"}
        with _told(place):
            connection.request("GET", place.target, headers=headers)
            if (sock := connection.sock) is None:  # somebody has closed it in between
                raise BrokenError("the link was closed")
            with _deadline(sock, self._patience.silence_s):
                response = self._last = connection.getresponse()
        return response


def words(status: int) -> str:
    """Return a status with its meaning.

    Example:
        >>> words(404)
        'status 404 (Not Found)'
    """
    known = {int(one): one.phrase for one in HTTPStatus}
    return f"status {status}" + (f" ({known[status]})" if status in known else "")


def _secure(host: str, port: int, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())


@contextlib.contextmanager
def _told(place: Address | None = None) -> Iterator[None]:
    """Tell what a connection raises in our own words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise StorageError(
            f"address {place.shown if place else ''!r}",
            asked=error.verify_message,
            allowed="a certificate that is sound",
        ) from error
    except TimeoutError as error:
        raise BrokenError("no answer in time") from error
    except http.client.InvalidURL as error:
        raise StorageError(
            f"address {place.shown if place else ''!r}", asked="characters no request can have"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise BrokenError(f"the link broke: {said}") from error


@contextlib.contextmanager
def _deadline(held: socket.socket, seconds: float) -> Iterator[None]:
    """Shut a socket down once the time is over, so that a head of an answer that trickles in ends too."""

    def shut() -> None:
        """End whatever is read from the socket."""
        with contextlib.suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
