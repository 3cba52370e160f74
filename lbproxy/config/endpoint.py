r"""PURE. The first word of a ``listen`` line: the address to bind, and whether it uses TLS.

Supported here: ``tcp:PORT``, ``tcp6:PORT`` and ``tls:PORT``, each with ``:interface=IP`` and
``:backlog=N`` or with the address before the port (``tls:127.0.0.1:8443``); ``unix:PATH`` with
``:mode=660`` and ``:backlog=N``; ``IP:PORT`` and ``*:PORT``. A colon inside a value is written
``\:``, or the value is in brackets. ``systemd:...`` is checked. It and the endpoints of Twisted
plugins are stored unchanged.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from attrs import field, frozen

from lbproxy.config import units
from lbproxy.config.addresses import parse_path, parse_port, socket_path
from lbproxy.config.errors import Unfit, nearest_word
from lbproxy.model import Address

__all__ = ["Endpoint", "parse_endpoint"]

OWN = ("tcp", "tcp4", "tcp6", "tls", "unix", "systemd")
_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_]*):(.+)", re.DOTALL)
_PART = re.compile(r"(?:\\.|\[[^\]]*\]|[^:\\])*", re.DOTALL)
_DOMAINS = ("INET", "INET6", "UNIX")
_BACKLOG = {"min": 1, "max": 65535}


@frozen
class Endpoint:
    """A parsed endpoint.

    ``address``: None if Twisted creates the endpoint. ``extra``: fields of ListenSpec set in it.
    """

    address: Address | None
    tls: bool = False
    extra: dict[str, Any] = field(factory=dict)


def _parts(text: str) -> list[str]:
    """Split ``text`` at its colons, except escaped and bracketed ones, and remove the escapes."""
    out, at = [], 0
    while True:
        found = _PART.match(text, at)
        assert found is not None
        out.append(re.sub(r"\\(.)", r"\1", found[0]))
        at = found.end() + 1
        if found.end() >= len(text) or text[found.end()] != ":":
            if found.end() < len(text):
                raise Unfit(f"{text!r} ends in a backslash")
            return out


def _arguments(
    parts: list[str], allowed: tuple[str, ...], known: str
) -> tuple[list[str], dict[str, str]]:
    plain = [p for p in parts if not re.match(r"[A-Za-z]\w*=", p)]
    keyed: dict[str, str] = {}
    for part in parts:
        if part in plain:
            continue
        key, _, value = part.partition("=")
        if key not in allowed:
            raise Unfit(f"{known}: has no {key!r}", found=key, known=allowed)
        if key in keyed:
            raise Unfit(f"{known}: {key} is given twice")
        keyed[key] = value
    return plain, keyed


def _interface(text: str) -> str:
    """Return an IP literal to bind to, or "" for all of IPv4."""
    if text in ("", "*"):
        return ""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise Unfit(f"{text!r} is not an IP address; listeners are bound to addresses") from None


def _tcp(kind: str, rest: str) -> Endpoint:
    plain, keyed = _arguments(_parts(rest), ("interface", "backlog"), kind)
    if len(plain) == 2 and "interface" not in keyed:
        keyed["interface"] = plain.pop(0)
    if len(plain) != 1:
        raise Unfit(
            f"{kind}:{rest} is not an endpoint such as {kind}:8080 or "
            f"{kind}:8080:interface=127.0.0.1"
        )
    host = _interface(keyed.get("interface", ""))
    if kind == "tcp6":
        host = host or "::"
        if ":" not in host:
            raise Unfit(f"tcp6: {host!r} is not an IPv6 address")
    if kind == "tcp4" and ":" in host:
        raise Unfit(f"tcp4: {host!r} is not an IPv4 address")
    extra = {}
    if "backlog" in keyed:
        extra["backlog"] = units.parse("int", keyed["backlog"], _BACKLOG)
    return Endpoint(Address("tcp", host, parse_port(plain[0], 0)), kind == "tls", extra)


def _unix(rest: str, base_dir: str) -> Endpoint:
    plain, keyed = _arguments(_parts(rest), ("mode", "backlog"), "unix")
    if len(plain) != 1 or not plain[0]:
        raise Unfit(f"unix:{rest} is not an endpoint such as unix:/run/lbproxy.sock")
    extra = {}
    if "mode" in keyed:
        extra["mode"] = units.parse("octal", keyed["mode"], {})
    if "backlog" in keyed:
        extra["backlog"] = units.parse("int", keyed["backlog"], _BACKLOG)
    path = socket_path(parse_path(plain[0], base_dir))
    return Endpoint(Address("unix", path=path), extra=extra)


def _systemd(rest: str) -> Endpoint:
    plain, keyed = _arguments(_parts(rest), ("domain", "index", "name"), "systemd")
    if plain:
        raise Unfit(f"systemd: {plain[0]!r} is not WORD=VALUE; allowed: domain, index, name")
    domain = keyed.get("domain", "")
    if domain not in _DOMAINS:
        raise Unfit(f"systemd: domain={domain} is unknown", found=domain, known=_DOMAINS)
    if ("index" in keyed) == ("name" in keyed):
        raise Unfit(
            "systemd: write either index=NUMBER (from 0, in the order of the .socket unit) or "
            "name=NAME (its FileDescriptorName)"
        )
    if "index" in keyed:
        units.parse("int", keyed["index"], {"min": 0, "max": 1023})
    return Endpoint(None)


def _bare(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise Unfit(
            f"{text!r} is not an address to listen on: write tcp:8080, tls:8443, unix:/path or "
            "IP:PORT"
        )
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Unfit(f"{text!r}: write an IPv6 address in brackets, [::1]:80")
    return Endpoint(Address("tcp", _interface(host), parse_port(port, 0)))


def parse_endpoint(text: str, base_dir: str = "") -> Endpoint:
    """Parse an endpoint. Raises :class:`Unfit`."""
    if "\0" in text:
        raise Unfit("an endpoint cannot contain a NUL character")
    found = _PREFIX.fullmatch(text)
    if not found:
        return _bare(text)
    kind, rest = found[1], found[2]
    if kind in ("tcp", "tcp4", "tcp6", "tls"):
        return _tcp(kind, rest)
    if kind == "unix":
        return _unix(rest, base_dir)
    if kind == "systemd":
        return _systemd(rest)
    if kind == "localhost":
        return _bare(text)
    if nearest_word(kind, OWN):
        raise Unfit(f"unknown endpoint {kind!r}", found=kind, known=OWN)
    return Endpoint(None)
