"""PURE. Checks of URLs that clients name, before anything is sent to them.

:class:`Guard` parses a URL by the rules of browsers (WHATWG, package ``ada-url``), refuses
spellings that other parsers read differently, and returns the exact string to send. The caller
resolves the name once, lets :meth:`Guard.judge` check every address, connects to one of these, and
repeats this for each redirect.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from importlib import import_module
from ipaddress import ip_address
from typing import Any

from attrs import frozen

from lbproxy.guard.judge import AddressJudge, TargetRefused, name_reason

__all__ = ["URL_MAX", "AllowedTarget", "Guard"]

URL_MAX = 8192
"""Maximum length of a URL in bytes."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ABSOLUTE = re.compile(r"(?i)(https?|wss?)://([^/?#]+)(?:[/?#]|\Z)")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\\]|\s")
_NUL = re.compile(r"%00")
_SCHEME = re.compile(r"(?i)[a-z][a-z0-9+.-]*:")


@frozen
class AllowedTarget:
    """An allowed URL in the exact form that is sent.

    ``host``: a name in ASCII, or an IP literal without brackets. ``path`` includes the query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def secure(self) -> bool:
        """True if TLS is used."""
        return self.scheme in ("https", "wss")

    @property
    def authority(self) -> str:
        """The value of ``Host``: without the default port of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The complete URL, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def literal(self) -> bool:
        """True if the host is an IP literal, so that nothing is resolved."""
        return _is_literal(self.host)


class Guard:
    """Checks URLs: ``Guard(AddressJudge()).target("https://example.com/")``.

    ``ports``: allowed ports. Raises ImportError without the package ``ada-url`` (extra ``guard``).
    """

    def __init__(self, addresses: AddressJudge, *, ports: Collection[int] = (80, 443)) -> None:
        # not an import statement, because mypyc reads this module even if the package is not
        # installed
        self._parse: Any = import_module("ada_url").URL
        self._addresses = addresses
        self._ports = frozenset(ports)

    def target(self, text: str) -> AllowedTarget:
        """Return the target for the absolute URL ``text``. Raises :class:`TargetRefused`.

        An IP literal is checked at once. For a name only its text is checked here; :meth:`judge`
        checks its addresses.
        """
        self._check_text(text)
        written = _ABSOLUTE.match(text)
        if written is None:
            raise TargetRefused(
                "the URL must begin with http://, https://, ws:// or wss:// and a host"
            )
        return self._allowed(text, written[2])

    def redirected(self, base: AllowedTarget, location: str) -> AllowedTarget:
        """Return the target of a redirect from ``base``. Raises :class:`TargetRefused`."""
        self._check_text(location)
        if location.startswith("//"):
            return self.target(f"{base.scheme}:{location}")
        if _SCHEME.match(location):
            return self.target(location)
        try:
            joined = str(self._parse(location, base.url).href)
        except ValueError:
            raise TargetRefused("the redirect does not lead to a URL") from None
        return self.target(joined)

    def judge(self, target: AllowedTarget, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return ``addresses`` if lbproxy may connect to each of them.

        Raises :class:`TargetRefused`.
        """
        try:
            self._addresses.check(addresses, target.port)
        except TargetRefused as error:
            raise TargetRefused(f"{target.host}: {error}") from None
        return tuple(addresses)

    @staticmethod
    def _check_text(text: str) -> None:
        if len(text.encode("utf-8", "surrogatepass")) > URL_MAX:
            raise TargetRefused(f"the URL is longer than {URL_MAX} bytes")
        if _FORBIDDEN.search(text):
            raise TargetRefused("the URL contains a space, a control character or a backslash")
        if _NUL.search(text):
            raise TargetRefused("the URL contains %00")

    def _allowed(self, text: str, written: str) -> AllowedTarget:
        """Return the target of ``text``, whose authority is ``written``."""
        if "@" in written:
            raise TargetRefused("the URL contains a user or a password")
        if "%" in written:
            raise TargetRefused("the host of the URL is percent-encoded")
        try:
            parsed = self._parse(text)
        except (ValueError, UnicodeError):
            raise TargetRefused("not a valid URL") from None
        scheme = parsed.protocol.removesuffix(":")
        host = parsed.hostname
        port = int(parsed.port) if parsed.port else _PORTS[scheme]
        if port not in self._ports:
            allowed = ", ".join(map(str, sorted(self._ports)))
            raise TargetRefused(f"port {port} is not allowed; allowed are {allowed}")
        self._check_host(host, written, port)
        path = parsed.pathname + parsed.search
        return AllowedTarget(scheme, host.removeprefix("[").removesuffix("]"), port, path)

    def _check_host(self, host: str, written: str, port: int) -> None:
        bare = host.removeprefix("[").removesuffix("]")
        if not _is_literal(bare):
            if reason := name_reason(bare):
                raise TargetRefused(f"{bare} {reason}")
            return
        # 0x7f.1, 017700000001 and full-width digits are IPv4 addresses to some parsers only
        if host == bare and re.sub(r":[0-9]*\Z", "", written) != host:
            raise TargetRefused(f"{written} is an unusual spelling of {host}")
        if reason := self._addresses.reason(bare, port):
            raise TargetRefused(f"{bare} is {reason}")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
