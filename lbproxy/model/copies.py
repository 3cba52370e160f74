"""PURE. The values of two keys of a backend: its mirror and its rebalancing."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lbproxy.model.base import NOWHERE, Where, hidden, option

__all__ = ["MirrorSpec", "RebalanceSpec"]


@frozen
class MirrorSpec:
    """``mirror = BACKEND options``: copies of requests that are sent to another backend.

    ``judge``: the loaded predicate.
    """

    backend: str = option(
        "backend", doc="backend that receives the copies, in http mode", positional=True
    )
    share: float = option("percent", 1.0, min=0.0, max=1.0, doc="share of the requests to copy")
    methods: tuple[str, ...] = option(
        "list:string",
        ("GET", "HEAD", "OPTIONS"),
        doc="methods to copy; the side effects of a copied request happen twice",
    )
    body: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        doc="maximum size of a copied request body; at most ``retry_buffer``",
    )
    timeout: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="maximum time for the complete response to a copy"
    )
    max: int = option(
        "int",
        100,
        min=1,
        max=100_000,
        workers="split",
        doc="maximum number of concurrent copies; further ones are dropped and counted",
    )
    header: str = option(
        "string",
        "",
        doc="name of a header with the value 1 that marks copies; empty: none",
        example="X-Mirror",
    )
    compare: tuple[str, ...] = option(
        "list:choice",
        (),
        choices=("status", "headers", "body"),
        doc="parts of the responses that must be equal; empty: responses are discarded",
        example="status,body",
    )
    ignore: tuple[str, ...] = option(
        "list:string",
        ("Date", "Age", "Expires", "Server", "Set-Cookie", "X-Request-Id"),
        doc="headers that may differ, besides framing headers",
    )
    predicate: str = option(
        "string",
        "",
        doc="function that receives both responses and decides whether they differ",
        example="answers.py:differ",
    )
    judge: Any = hidden(None)
    where: Where = hidden(NOWHERE)

    def __attrs_post_init__(self) -> None:
        for word in (*self.methods, *((self.header,) if self.header else ())):
            if not word or not all(
                c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in word
            ):
                raise ValueError(f"{word!r} is neither a method nor the name of a header")


@frozen
class RebalanceSpec:
    """``rebalance = PROTOCOL options``: moves long-lived sessions when servers are added or weights
    change.
    """

    protocol: str = option(
        "choice",
        choices=("tcp", "websocket", "mqtt", "amqp", "postgresql"),
        doc=(
            "protocol of the sessions; it determines when a session may be ended, and with which "
            "message"
        ),
        positional=True,
    )
    rate: float = option("rate", 5.0, min=0.001, max=10_000, doc="maximum rate of moved sessions")
    idle: float = option(
        "duration",
        1.0,
        min=0.0,
        max=86400,
        doc="minimum silence of a session before it is moved",
    )
    after: float = option(
        "duration", 2.0, min=0.0, max=86400, doc="pause between the change and the first move"
    )
    tolerance: float = option(
        "percent", 0.05, min=0.0, max=1.0, doc="how far a server may exceed its share"
    )
    where: Where = hidden(NOWHERE)
