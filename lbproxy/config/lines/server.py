"""PURE. ``servers``: one line for each server of a backend."""

from __future__ import annotations

from collections.abc import Sequence

from lbproxy.config.line import Line, Scope, dump_words
from lbproxy.config.options import Spot, read_options
from lbproxy.config.words import Word
from lbproxy.model import ServerSpec

__all__ = ["SERVER", "dump_server", "read_server"]

NEEDS_TLS = ("ca", "verify", "sni", "certificate")


def read_server(words: Sequence[Word], spot: Spot) -> ServerSpec | None:
    """Read ``NAME ADDRESS options``."""
    values = read_options(ServerSpec, words, spot, foreign=True)
    if not values.get("tls"):
        for name in NEEDS_TLS:
            if name in values:
                spot.wrong(f"option {name!r} has no effect without 'tls'", found=name)
    if values.get("backup") and "tier" in values:
        spot.wrong("option 'tier' has no effect with 'backup', which comes after all tiers")
    return None if spot.failed else ServerSpec(**values, where=spot.where)


def dump_server(spec: ServerSpec) -> str:
    """Return the line that :func:`read_server` reads."""
    return dump_words(spec)


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> ServerSpec | None:
    return read_server(words, spot)


SERVER = Line(
    "server",
    _read,
    dump_server,
    words="server lines (see `server line`)",
    intro="``NAME ADDRESS`` and options, one line for each server.",
    options=ServerSpec,
    unique=True,
)
