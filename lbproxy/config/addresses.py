"""PURE. Parsers of names and locations: paths, hosts, ports, addresses, networks, server
targets.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network

from lbproxy.config.errors import Unfit, shorten
from lbproxy.model import Address, Network, Target

__all__ = [
    "TARGETS",
    "parse_address",
    "parse_host",
    "parse_name",
    "parse_network",
    "parse_path",
    "parse_port",
    "parse_target",
    "socket_path",
]

UNIX_PATH = 107
"""Maximum length of the path of a Unix socket in bytes (sun_path in unix(7), less the final NUL).
"""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def _shown(text: str) -> str:
    return repr(shorten(text, 80))


def parse_path(text: str, base_dir: str) -> str:
    """Return an absolute path; relative ones start at ``base_dir``, and "" stays "".

    Raises :class:`Unfit`.
    """
    if "\0" in text:
        raise Unfit(f"{_shown(text)} is not a path: it contains a NUL character")
    return os.path.normpath(os.path.join(base_dir, text)) if text else ""  # noqa: PTH118


def parse_host(text: str) -> str:
    """Return an IPv4 literal or host name unchanged, or an IPv6 literal without its brackets.

    Raises :class:`Unfit`.
    """
    try:
        if text.startswith("[") and text.endswith("]"):
            return str(IPv6Address(text[1:-1]))
        if re.fullmatch(r"[0-9.]+", text):
            return str(IPv4Address(text))
    except AddressValueError as error:
        raise Unfit(f"{_shown(text)} is not an IP address: {error}") from None
    if ":" in text:
        raise Unfit(f"{_shown(text)}: write an IPv6 address in brackets, [::1]:80")
    labels = text.removesuffix(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Unfit(f"{_shown(text)} is neither an IP address nor a host name")
    return text


def parse_port(text: str, lowest: int = 1) -> int:
    """Return a port from ``lowest`` to 65535. Raises :class:`Unfit`.

    ``lowest`` is 0 for listeners, where 0 means any free port.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
        raise Unfit(f"{_shown(text)} is not a port; it must be {lowest} to 65535")
    return int(text)


def parse_address(text: str, base_dir: str = "") -> Address:
    """Parse ``host:port``, ``[v6]:port`` or ``unix:/path``. Raises :class:`Unfit`."""
    if text.startswith("unix:"):
        return _unix(text[5:], base_dir)
    if "://" in text:
        raise Unfit(f"{_shown(text)} is a URL; an address is host:port, [v6]:port or unix:/path")
    host, colon, port = text.rpartition(":")
    if not colon or not host or (host.startswith("[") and not host.endswith("]")):
        raise Unfit(f"{_shown(text)} is not an address: write host:port, [v6]:port or unix:/path")
    return Address("tcp", parse_host(host), parse_port(port))


def _unix(text: str, base_dir: str) -> Address:
    path = parse_path(text, base_dir)
    if not path:
        raise Unfit("'unix:' needs a path")
    return Address("unix", path=socket_path(path))


def socket_path(path: str) -> str:
    """Return ``path`` if a Unix socket can have it. Raises :class:`Unfit`."""
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > UNIX_PATH:
        raise Unfit(
            f"the path of a Unix socket has at most {UNIX_PATH} bytes; {_shown(path)} has {size}"
        )
    return path


def parse_name(text: str) -> str:
    """Return the name of a section or a server: at most 100 letters, digits, ``_``, ``.`` and
    ``-``.
    """
    if not _NAME.fullmatch(text):
        raise Unfit(
            f"{_shown(text)} is not a name: use letters, digits, '_', '.' and '-', at most 100"
        )
    return text


TARGETS: dict[str, Callable[[str, str], Target]] = {
    "unix": lambda text, base_dir: Target(_unix(text, base_dir)),
}
"""Parsers of targets by scheme, called with the text after ``SCHEME:`` and the base directory."""


def parse_target(text: str, base_dir: str = "") -> Target:
    """Parse the target of a server: ``host:port``, or ``SCHEME:...`` of :data:`TARGETS`.

    Raises :class:`Unfit`.
    """
    scheme, _, rest = text.partition(":")
    make = TARGETS.get(scheme)
    return Target(parse_address(text, base_dir)) if make is None else make(rest, base_dir)


def parse_network(text: str) -> Network:
    """Parse a network or a single address. Raises :class:`Unfit`."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        fixed = ip_network(text, strict=False)
    except ValueError:
        raise Unfit(
            f"{_shown(text)} is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address"
        ) from None
    raise Unfit(f"{_shown(text)} has bits set after its prefix; did you mean {str(fixed)!r}?")
