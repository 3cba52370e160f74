"""PURE. Lines of ``servers`` for all addresses of a DNS name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from lbproxy.config.line import Line, Scope
from lbproxy.config.lines.serverwords import read_server
from lbproxy.config.options import Spot, dump_options
from lbproxy.config.words import Word
from lbproxy.model import TemplateSpec

__all__ = ["TEMPLATE", "is_template", "read_template"]

MOST = 64
"""Maximum number of addresses that a look-up returns (:mod:`lbproxy.net.lookup`)."""

_RANGE = re.compile(r"([^{}]*)\{([0-9]{1,6})\.\.([0-9]{1,6})\}([^{}]*)")
_SCHEME = "dns:"


def is_template(words: Sequence[Word]) -> bool:
    """Return whether the line has a range of names or the address of a look-up."""
    return "{" in words[0].text or (len(words) > 1 and words[1].text.startswith(_SCHEME))


def read_template(words: Sequence[Word], spot: Spot) -> TemplateSpec | None:
    """Read ``NAME{A..B} dns:HOST:PORT options``."""
    found = _RANGE.fullmatch(words[0].text)
    if found is None:
        message = "an address with dns: needs a name for each server: NAME{1..10} dns:HOST:PORT"
        spot.wrong(message, found=words[0].text)
        return None
    first, last = int(found[2]), int(found[3])
    if not first <= last < first + MOST:
        spot.wrong(
            f"{words[0].text!r}: write at least 1 and at most {MOST} numbers, as in {{1..10}}"
        )
        return None
    if len(words) < 2 or not words[1].text.startswith(_SCHEME):
        spot.wrong(f"{words[0].text!r} needs the DNS name of the servers: dns:HOST:PORT")
        return None
    address = words[1].text.removeprefix(_SCHEME)
    plain = [Word(f"{found[1]}{found[2]}{found[4]}"), Word(address), *words[2:]]
    server = read_server(plain, spot)
    if server is None:
        return None
    padded = len(found[2]) if found[2].startswith("0") else 1
    spec = TemplateSpec(found[1], first, last, found[4], server, padded, where=spot.where)
    _judge(spec, spot)
    return None if spot.failed else spec


def _judge(spec: TemplateSpec, spot: Spot) -> None:
    """Report names that cannot be looked up, and options for a single server."""
    address = spec.server.target.address
    if address is None or address.kind != "tcp" or _is_literal(address.host):
        spot.wrong("dns: needs a host name and a port: dns:app.internal:8000")
    for name in ("check_address", "agent_address"):
        if getattr(spec.server, name) is not None:
            spot.wrong(f"option {name!r} is for a single server, but this line describes several")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> TemplateSpec | None:
    return read_template(words, spot)


def dump_template(spec: TemplateSpec) -> str:
    """Return the line that :func:`read_template` reads."""
    options = dump_options(spec.server)[2:]
    return " ".join((spec.text, f"{_SCHEME}{spec.address}", *options))


TEMPLATE = Line(
    "discovery",
    _read,
    dump_template,
    words="discovery lines (see `discovery line`)",
    intro="""\
``NAME{A..B} dns:HOST:PORT`` and the options of a server line, except ``check_address`` and
``agent_address``. The line is also allowed in ``servers``. Each address of ``HOST`` becomes a
server with one of the names. The name is looked up every ``resolve_every``: servers are added for
new addresses and removed with old ones; their sessions continue. After a look-up that fails or
finds nothing, all servers stay. Addresses beyond the number of names are not used. ``{01..10}``
keeps its zeros.""",
    unique=True,
)
