"""PURE. The words of a single server, for the lines that have them."""

from __future__ import annotations

from collections.abc import Sequence

from lbproxy.config.options import Spot, read_options
from lbproxy.config.words import Word
from lbproxy.model import ServerSpec

__all__ = ["read_server"]

NEEDS_TLS = ("ca", "verify", "sni", "certificate")


def read_server(words: Sequence[Word], spot: Spot) -> ServerSpec | None:
    """Read ``NAME ADDRESS options``."""
    if _has_keyword(words):
        spot.wrong("a line begins with the name: remove the word 'server'", found="server")
        words = words[1:]
    values = read_options(ServerSpec, words, spot, foreign=True)
    if not values.get("tls"):
        for name in NEEDS_TLS:
            if name in values:
                spot.wrong(f"option {name!r} has no effect without 'tls'", found=name)
    if values.get("backup") and "tier" in values:
        spot.wrong("option 'tier' has no effect with 'backup', which comes after all tiers")
    return None if spot.failed else ServerSpec(**values, where=spot.where)


def _has_keyword(words: Sequence[Word]) -> bool:
    """Return whether ``server`` precedes the name, as in HAProxy."""
    texts = [word.text for word in words[:3]]
    return (
        len(texts) == 3
        and texts[0] == "server"
        and [":" in one for one in texts[1:]] == [False, True]
    )
