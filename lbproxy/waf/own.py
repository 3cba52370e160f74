"""PURE. Rules of the operator: Python functions that inspect requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from lbproxy.http.message import RequestHead
from lbproxy.waf.engine import Hit
from lbproxy.waf.rule import Rule, Zone
from lbproxy.waf.target import Part

__all__ = ["FIRST_ID", "WafRequest", "own_hit"]

FIRST_ID = 999001
"""Id of the first function; the others follow."""


@frozen
class WafRequest:
    """The argument of such a function.

    ``body``: the part of it that was read, decompressed, at most ``body_limit`` bytes. ``parts``:
    names such as ``ARGS:q`` and values, by zone.
    """

    head: RequestHead
    client_ip: str
    body: bytes
    parts: Mapping[Zone, list[Part]]

    def values(self, name: str) -> list[bytes]:
        """Return the values of all parts with this name."""
        return [value for some in self.parts.values() for one, value in some if one == name]


def own_hit(number: int, name: str, result: Any) -> Hit | None:
    """Return the hit for the result of function ``number`` (from 0); None if it is falsy.

    A text is used as the message.
    """
    if not result:
        return None
    message = result[:200] if isinstance(result, str) else name
    rule = Rule(FIRST_ID + number, "own", message, "", (), (), ())
    return Hit(rule, "REQUEST", "")
