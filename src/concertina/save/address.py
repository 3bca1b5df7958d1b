"""An address on the web: which are taken, what is said of them, and where a redirect may lead."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from concertina.errors import StorageError

USUAL_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SAFE = "/%:@!$&'()*+,;=~-._?"
_LONGEST = 8192


@dataclass(frozen=True)
class Address:
    """Where a file lies."""

    scheme: str
    """"http" or "https"."""
    host: str
    port: int
    target: str
    """Path and query, as a request names them."""

    @property
    def shown(self) -> str:
        """The address for messages: without the query, which may hold a key."""
        return self._whole.partition("?")[0][:200]

    @property
    def _whole(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == USUAL_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"

    def redirected(self, location: str) -> Address:
        """Return where a redirect leads.

        Raises:
            StorageError: To no address that may be asked for, or from https down to http.
        """
        try:
            found = read_address(urljoin(self._whole, location))
        except (StorageError, ValueError) as error:
            said = getattr(error, "asked", "no address")
            raise StorageError(f"redirect of {self.shown!r}", asked=said, allowed="http:// or https://") from error
        if self.scheme == "https" and found.scheme != "https":
            raise StorageError(f"redirect of {self.shown!r}", asked=found.shown, allowed="https, as it was asked for")
        return found


def is_address(text: object) -> bool:
    """Return whether a text is an address and no path.

    Example:
        >>> is_address("https://host/a.concertina"), is_address("a.concertina")
        (True, False)
    """
    return isinstance(text, str) and _ADDRESS.match(text) is not None


def read_address(text: str) -> Address:
    """Return an address as requests need it.

    Raises:
        StorageError: Another scheme, no host, a user or password in it, or no address at all.

    Example:
        >>> read_address("http://localhost:8000/a file.concertina?key=1").shown
        'http://localhost:8000/a%20file.concertina'
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError as error:  # of which a host that cannot be encoded is one
        raise StorageError("address", asked=str(error)[:100], allowed="http://host/file.concertina") from error
    scheme = parts.scheme.lower()
    if scheme not in USUAL_PORTS:
        raise StorageError("address", asked=f"{scheme[:20]}://", allowed="http:// or https://, or a path")
    if "@" in parts.netloc:
        raise StorageError("address", asked="a user or password in it", allowed="none: they end up in logs")
    if not re.fullmatch(r"[\w.:-]+", host, re.ASCII) or len(text) > _LONGEST:
        asked = f"{len(text)} characters" if len(text) > _LONGEST else f"host {host[:50]!r}"
        raise StorageError("address", asked=asked, allowed=f"a host, up to {_LONGEST} characters in all")
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Address(scheme, host, port or USUAL_PORTS[scheme], target)
