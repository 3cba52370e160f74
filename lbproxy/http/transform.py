"""PURE. The class that changes bodies on their way extends.

A filter hands over transforms in phase ``server_request`` (``traffic.transform_request``) or
``response`` (``traffic.transform_response``).  lbproxy runs them one after the other, in the order
they were handed over; the first one gets what the sender sent."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

__all__ = ["Flow", "Transform"]


class Flow(Protocol):
    """The methods that a transform may call, at any time between ``start`` and ``end``."""

    def pause(self, seconds: float = 0.0) -> None:
        """Let no more of the body come; the sender is paused.

        For at most ``seconds``; 0: the frontend's ``timeout_filter``.
        """

    def resume(self) -> None:
        """Continue with what has come meanwhile, once no other transform of the body is paused."""


class Transform:
    """Extend this.  One object serves one body, so notes about the body belong to ``self``.

    ``keeps_length``: the output has as many bytes as the input, and Content-Length stays.  Without
    it the body is sent with the length of the output if that is known at once, else chunked.
    An exception in a method ends the exchange: with a 500 while the head is not sent, else by
    closing the connection.
    """

    keeps_length: ClassVar[bool] = False

    flow: Flow

    def start(self, head: Any) -> None:
        """The head of the message, not sent yet: may be changed."""

    def data(self, data: bytes) -> bytes:
        """Return what to send in place of ``data``, which is not empty."""
        return data

    def end(self) -> bytes:
        """The body is complete: return the rest of the output.

        Called once, and once more after each pause that began in it.
        """
        return b""
