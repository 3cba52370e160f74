"""Requests and responses for the rules of the cache."""

from __future__ import annotations

from email.utils import formatdate

from lbproxy.cache.asked import Asked, ask
from lbproxy.cache.policy import Policy
from lbproxy.cache.stored import Stored
from lbproxy.cache.storing import Refusal, store
from lbproxy.http.message import RequestHead, ResponseHead, header_pairs

NOW = 1_700_000_000.0
"""The time at which responses of :func:`response` are made."""


def date(seconds: float) -> str:
    """An HTTP date."""
    return formatdate(seconds, usegmt=True)


def request(
    method: str = "GET", target: str = "/a", host: str = "h", length: int = 0, **headers: str
) -> RequestHead:
    """A request; ``_`` in the names of headers stands for ``-``."""
    pairs = [("Host", host), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return RequestHead(
        method.encode(), target.encode(), header_pairs(pairs), host=host.encode(), length=length
    )


def response(status: int = 200, length: int = 5, **headers: str | list[str]) -> ResponseHead:
    """A response with a Date of :data:`NOW` unless ``Date`` is given; a list makes several
    lines.
    """
    headers.setdefault("Date", date(NOW))
    pairs = []
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            pairs.append((name.replace("_", "-"), value))
    return ResponseHead(status, header_pairs(pairs), b"OK", length=length)


def stored(
    asking: RequestHead,
    answer: ResponseHead,
    policy: Policy = Policy(),  # noqa: B008
    received: float = NOW,
) -> Stored | Refusal:
    """What the rules make of ``answer``."""
    asked: Asked = ask(asking, policy)
    return store(b"http://h/a", asking, asked, answer, policy, (received, received))


def kept(asking: RequestHead, answer: ResponseHead, policy: Policy = Policy()) -> Stored:  # noqa: B008
    """The same, for what must be stored."""
    found = stored(asking, answer, policy)
    assert isinstance(found, Stored), found
    return found
