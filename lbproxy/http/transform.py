"""PURE. The base class of transforms of bodies.

A filter registers transforms in phase ``server_request`` (``traffic.transform_request``) or
``response`` (``traffic.transform_response``). lbproxy runs them in the order of registration; the
first one gets the sender's data.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

__all__ = ["Flow", "Transform"]


class Flow(Protocol):
    """The methods that a transform may call, at any time between ``start`` and ``end``."""

    def pause(self, seconds: float = 0.0) -> None:
        """Stop the delivery of the body. The sender is paused.

        The pause lasts at most ``seconds``; 0: the frontend's ``timeout_filter``.
        """

    def resume(self) -> None:
        """Continue with the data received meanwhile, once no other transform of the body is
        paused.
        """


class Transform:
    """Base class of transforms. One object serves one body, so data about the body belongs on
    ``self``.

    ``keeps_length``: the output has as many bytes as the input, and Content-Length stays. Otherwise
    the body is sent with the length of the output if that is known at once, else chunked. An
    exception in a method ends the exchange: with a 500 if the head has not been sent, else by
    closing the connection.
    """

    keeps_length: ClassVar[bool] = False

    flow: Flow

    def start(self, head: Any) -> None:
        """Handle the head of the message, which has not been sent. It may be changed."""

    def data(self, data: bytes) -> bytes:
        """Return the output for ``data``, which is not empty."""
        return data

    def end(self) -> bytes:
        """Handle the end of the body. Return the rest of the output.

        It is called once, and once more after each pause that starts in it.
        """
        return b""
