"""PURE. URLs and hosts as operators write them, in the form in which clients send them."""

from __future__ import annotations

import re
from typing import Final

from lbproxy.http.asciihost import ascii_host
from lbproxy.http.syntax import normal_host

__all__ = ["given_host", "given_prefix", "given_url", "parts_of", "target_of"]

_WANTED: Final = "must be a complete URL, such as https://www.example.com/a"
_PATH: Final = re.compile(r"[/?]")
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_HOST_START: Final = re.compile(r"[0-9a-z_~.:\[\]-]+")
_PORT: Final = re.compile(r":[0-9]*\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_ZEROS: Final = re.compile(r"(?<=.):0[0-9]*\Z")


def given_url(text: str) -> str:
    """Return ``text`` as a URL in ASCII: a host with other letters becomes its IDNA form, and
    blanks and other characters outside ASCII are percent-encoded in UTF-8, as browsers do.

    A fragment is removed. Raises ValueError if it is not a complete URL for http or https.
    """
    scheme, host, target = _split(text.partition("#")[0])
    return f"{scheme}://{_whole(host)}{target}"


def given_prefix(text: str) -> str:
    """Return ``text`` as the beginning of a URL in ASCII; see :func:`given_url`.

    The host may be incomplete if it is the end. Raises ValueError if no URL begins like this, or if
    it contains a fragment, without which it would name more URLs.
    """
    if "#" in text:
        raise ValueError("contains '#': URLs are stored without a fragment")
    scheme, host, target = _split(text)
    if target:
        return f"{scheme}://{_whole(host)}{target}"
    if not host.rpartition(".")[2].isascii():
        raise ValueError(f"must end the host {host[:80]!r} with '/': its IDNA form is not known")
    start = _ascii(host)
    if not _HOST_START.fullmatch(start):
        raise ValueError(f"{_WANTED}; {host[:80]!r} is not a host")
    if start.endswith(_DEFAULT_PORTS[scheme]):
        raise ValueError("must be without the default port, or end with '/'")
    if "[" not in start and _ZEROS.search(start):
        raise ValueError("must be without zeros before the port, or end with '/'")
    return f"{scheme}://{start}"


def given_host(text: str) -> str:
    """Return a host, with its port if it has one, in ASCII and lower case. Raises ValueError."""
    try:
        return _normal(text)
    except ValueError:
        raise ValueError(
            f"must be a host such as www.example.com or www.example.com:8443, not {text[:80]!r}"
        ) from None


def parts_of(url: str) -> tuple[str, str, str]:
    """Return scheme, host and target of the result of :func:`given_url`."""
    scheme, host, _ = _split(url)
    return scheme, host, target_of(url)


def target_of(url: str) -> str:
    """Return what a client sends of ``url`` as the target of its request.

    A ``?`` without a query is part of it, which :func:`urllib.parse.urlsplit` drops.
    """
    rest = url.partition("#")[0].partition("://")[2]
    at = _PATH.search(rest)
    target = "" if at is None else rest[at.start() :]
    return target if target.startswith("/") else "/" + target


def _split(text: str) -> tuple[str, str, str]:
    """Return scheme, host and target, which may be empty. The host is as it is written."""
    if _CONTROL.search(text):
        raise ValueError("contains a control character")
    scheme, mark, rest = text.partition("://")
    at = _PATH.search(rest)
    cut = len(rest) if at is None else at.start()
    if scheme.lower() not in _DEFAULT_PORTS or not mark or not rest[:cut]:
        raise ValueError(_WANTED)
    if "@" in rest[:cut]:
        raise ValueError(f"{_WANTED}, without user and password")
    return scheme.lower(), rest[:cut], _UNSAFE.sub(_escape, rest[cut:])


def _whole(host: str) -> str:
    try:
        return _normal(host)
    except ValueError:
        raise ValueError(f"{_WANTED}; {host[:80]!r} is not a host") from None


def _normal(host: str) -> str:
    return normal_host(_ascii(host).encode("ascii")).decode("ascii")


def _ascii(host: str) -> str:
    """Return a host in its IDNA form, in lower case; its port is not part of a label."""
    found = _PORT.search(host)
    port = "" if found is None else found[0]
    return ascii_host(host.removesuffix(port)).lower() + port


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
