"""DATA. A reactor with the timer wheel that runs on it."""

from __future__ import annotations

from typing import Any

from lbproxy.net.handshakes import Handshakes
from lbproxy.net.timers import TimerWheel

__all__ = ["Loop"]


class Loop:
    """A reactor and the objects that belong to it. ``reactor`` provides IReactorTime and the
    interfaces its users need.

    ``wheel``: timer wheel for deadlines; None creates one. ``handshakes``: the places of TLS
    handshakes of clients.
    """

    __slots__ = ("handshakes", "reactor", "wheel")

    def __init__(self, reactor: Any, wheel: TimerWheel | None = None) -> None:
        self.reactor = reactor
        self.wheel = TimerWheel(reactor) if wheel is None else wheel
        self.handshakes = Handshakes(self.wheel)
