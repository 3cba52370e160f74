"""CONTROL. The ``memcached`` check: the server's version, and optionally its number of items.

Found by :mod:`lbproxy.registry` under its name.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy, shown

__all__ = ["MemcachedOptions", "MemcachedProbe"]

_STATS = 1000
_VERSION = re.compile(rb"VERSION ([!-~]{1,60})")


@frozen
class MemcachedOptions:
    """Options of ``check = memcached``."""

    items: int = option(
        "int",
        0,
        min=0,
        doc="minimum number of items in the cache; 0: an empty cache is healthy",
        example="1000",
    )


class MemcachedProbe(Probe):
    """Healthy if the server reports its version, and holds enough items."""

    name: ClassVar[str] = "memcached"
    Options: ClassVar[type[Any]] = MemcachedOptions

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        conversation.send(b"version\r\n")
        line = await conversation.receive_line()
        found = _VERSION.fullmatch(line)
        if found is None:
            raise Unhealthy(f"does not speak memcached: {shown(line)}")
        note = f"version {found[1].decode('ascii')}"
        if self.options.items:
            items = await self._items(conversation)
            if items < self.options.items:
                raise Unhealthy(f"holds {items} items, wanted {self.options.items}")
            note = f"{note}, {items} items"
        conversation.send(b"quit\r\n")
        return note

    async def _items(self, conversation: Conversation) -> int:
        conversation.send(b"stats\r\n")
        items = None
        for _ in range(_STATS):
            line = await conversation.receive_line()
            if line == b"END" and items is not None:
                return items
            match line.split(b" "):
                case [b"STAT", b"curr_items", number] if re.fullmatch(b"[0-9]{1,18}", number):
                    items = int(number)
                case [b"STAT", *_]:
                    pass
                case _:
                    break
        raise Unhealthy(f"its statistics make no sense: {shown(line)}")
