"""PURE. Patterns of hosts and paths for the targets and the referrers of a key."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

__all__ = ["TargetPattern", "referrer_parts"]

_TARGET: Final = re.compile(
    r"(?P<host>(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)
_HIDDEN: Final = re.compile(r"(?i)%(?:25)*(?:2f|5c|2e)|/\.\.?;")
_PORTS: Final = {"http": 80, "https": 443}


@frozen
class TargetPattern:
    """A pattern ``HOST[:PORT][/PATH]``. ``*.`` before the host matches all names below it, ``*`` at
    the end of the path any rest. Without port or path, any is allowed.
    """

    host: str
    port: int
    path: str

    @classmethod
    def read(cls, text: str) -> TargetPattern:
        """Return the pattern for ``text``. Raises ValueError if it is invalid."""
        found = _TARGET.fullmatch(text.lower() if "/" not in text else _low_host(text))
        if found is None or "*" in (found["path"] or "").removesuffix("*"):
            raise ValueError(f"{text!r} is not a target; write HOST, HOST:PORT or HOST/PATH*")
        host = found["host"].removeprefix("[").removesuffix("]")
        return cls(host, int(found["port"] or 0), found["path"] or "")

    def matches(self, host: str, port: int, path: str) -> bool:
        """Return whether the pattern matches a target. ``path`` includes the query.

        A path with an encoded slash or dot, also encoded twice, or with the parameters of a dot
        segment (``/..;/``) matches no path of a pattern, because servers differ in their
        interpretation.
        """
        below = self.host.startswith("*.") and host.endswith(self.host[1:])
        if not (below or host == self.host) or (self.port and port != self.port):
            return False
        if not self.path:
            return True
        bare = path.partition("?")[0]
        if _HIDDEN.search(bare):
            return False
        if self.path.endswith("*"):
            return bare.startswith(self.path[:-1])
        return bare == self.path


def _low_host(text: str) -> str:
    host, slash, path = text.partition("/")
    return host.lower() + slash + path


def referrer_parts(text: str) -> tuple[str, int, str] | None:
    """Return host, port and path of a ``Referer``; None if it is not an http or https URL."""
    try:
        found = urlsplit(text)
        port = found.port or _PORTS.get(found.scheme, 0)
    except ValueError:
        return None
    if not port or not found.hostname:
        return None
    return found.hostname, port, found.path or "/"
