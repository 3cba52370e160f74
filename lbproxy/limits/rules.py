"""PURE. Values of lines of ``[limit NAME]`` and ``limits``."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from lbproxy.model import Condition

__all__ = ["Action", "LimitUse", "Reaction"]

Reaction = Literal["reject", "delay", "tarpit", "log"]


@frozen
class Action:
    """The reaction to traffic beyond a limit.

    ``queue``: requests of a key that ``delay`` lets wait.  ``seconds``: how long ``tarpit`` holds a
    request before it is refused.
    """

    kind: Reaction = "reject"
    queue: int = 10
    seconds: float = 0.0


@frozen
class LimitUse:
    """One line of ``limits``: a ``[limit NAME]``, where ``conditions`` hold."""

    name: str
    conditions: tuple[Condition, ...] = ()
