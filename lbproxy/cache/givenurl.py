"""PURE. URLs and hosts as operators write them, in the form in which clients send them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["given_host", "given_prefix", "given_url"]

_WANTED: Final = "must be a complete URL, such as https://www.example.com/a"
_HOST: Final = re.compile(r"(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::[0-9]+)?", re.I)
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_HOST_START: Final = re.compile(r"[^\s@]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def given_url(text: str) -> str:
    """Return ``text`` as a URL in ASCII: a host with other letters becomes its IDNA form, and
    blanks and other characters outside ASCII are percent-encoded in UTF-8, as browsers do.

    Raises ValueError if it is not a complete URL for http or https.
    """
    return _url(text, _HOST)


def given_prefix(text: str) -> str:
    """Return ``text`` as the beginning of a URL in ASCII; see :func:`given_url`.

    Raises ValueError if it does not contain the beginning of a host.
    """
    return _url(text, _HOST_START)


def given_host(text: str) -> str:
    """Return a host, with its port if it has one, in ASCII and lower case. Raises ValueError."""
    if not _HOST.fullmatch(text):
        raise ValueError("must be a host such as www.example.com or www.example.com:8443")
    return _ascii_host(text)


def _url(text: str, host: re.Pattern[str]) -> str:
    if _CONTROL.search(text):
        raise ValueError("contains a control character")
    text = text.partition("#")[0]
    scheme, mark, rest = text.partition("://")
    at = re.search(r"[/?]", rest)
    cut = len(rest) if at is None else at.start()
    if scheme.lower() not in ("http", "https") or not mark or not rest[:cut]:
        raise ValueError(_WANTED)
    if "@" in rest[:cut]:
        raise ValueError(f"{_WANTED}, without user and password")
    if not host.fullmatch(rest[:cut]):
        raise ValueError(f"{_WANTED}; {rest[:cut][:80]!r} is not a host")
    target = _UNSAFE.sub(_escape, rest[cut:])
    return f"{scheme.lower()}://{_ascii_host(rest[:cut])}{target}"


def _ascii_host(host: str) -> str:
    try:
        return host.lower() if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f"{host[:80]!r} is not a host") from None


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
