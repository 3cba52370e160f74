"""PURE. Values of lines of ``[limit NAME]``, ``limits`` and ``[ban NAME]``."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from lbproxy.model import Condition

__all__ = ["Action", "BanAction", "LimitUse", "Reaction", "ShedLimits"]

Reaction = Literal["reject", "delay", "tarpit", "log", "ban"]


@frozen
class Action:
    """The reaction to traffic beyond a limit.

    ``queue``: maximum number of waiting requests of a key with ``delay``. ``seconds``: time for
    which ``tarpit`` holds a request before it is refused. ``ban``: the ``[ban NAME]`` applied to
    its client.
    """

    kind: Reaction = "reject"
    queue: int = 10
    seconds: float = 0.0
    ban: str = ""


@frozen
class BanAction:
    """The treatment of banned clients. ``seconds``: time for which ``tarpit`` holds a client."""

    kind: Literal["close", "reject", "tarpit", "drop"] = "close"
    seconds: float = 0.0


@frozen
class LimitUse:
    """One line of ``limits``: a ``[limit NAME]`` with its ``conditions``."""

    name: str
    conditions: tuple[Condition, ...] = ()


@frozen
class ShedLimits:
    """The value of ``shed``; 0 for a load that is not limited.

    ``lag``: delay of the reactor in seconds. ``memory``: share from 0 to 1. ``queue``: share of the
    places in the queue of the backend.
    """

    lag: float = 0.0
    memory: float = 0.0
    queue: float = 0.0
