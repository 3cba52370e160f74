"""DATA. The delivery of one response to the client, from its final head to its last byte.

An exchange creates a :class:`Delivery` for each final head that it accepts from a source. The
states:

========= ==================================================== ====================
state     meaning                                              next
========= ==================================================== ====================
FILTERING filters of phase ``response`` look at the head; what SENDING, OVER
          follows it is kept, and the source is paused
SENDING   the head is sent, the body follows                   OVER
OVER      the End is sent, or the response is dropped          -
========= ==================================================== ====================

1. Nothing is sent before the filters have finished. A filter may still replace the response by a
   reply, which drops it.
2. The framing is decided when the head is sent, after the last transform.
3. A response without a body by its method or status has none, whatever the source provides.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from twisted.logger import Logger

from lbproxy.compiled import native
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End, ResponseHead
from lbproxy.proxy.hooks import run_hooks
from lbproxy.proxy.http.bodies import TransformedBody
from lbproxy.proxy.http.clientsend import ClientSender
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.streams import ClientStream
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.ratelog import Quiet

__all__ = ["BAD_HEAD", "Delivery", "DeliveryOwner", "DeliveryState", "bad_head", "gather"]

BAD_HEAD: Final = (ValueError, TypeError, AttributeError)
"""Exceptions for a head that a filter has made invalid."""

_quiet: Final = Quiet(Logger(__name__))


class DeliveryState(Enum):
    """See the module."""

    FILTERING = 0
    SENDING = 1
    OVER = 2


_FILTERING: Final = DeliveryState.FILTERING
_SENDING: Final = DeliveryState.SENDING
_OVER: Final = DeliveryState.OVER


@native(allow_interpreted_subclasses=True)
class DeliveryOwner(Asking):
    """The interface of an exchange to its delivery."""

    def hold_source(self, held: bool) -> None:
        """Pause the source, or resume it unless the client is paused."""
        raise NotImplementedError

    def hold_tunnel(self, held: bool) -> None:
        """Pause both directions of the tunnel, or resume those that back-pressure allows."""
        raise NotImplementedError

    def drop_source(self) -> None:
        """Cancel the rest of the source, although the exchange succeeded."""
        raise NotImplementedError

    def delivered(self) -> None:
        """Note that the End is sent."""
        raise NotImplementedError


class Delivery:
    """See the module.  ``traffic.response`` is the head."""

    __slots__ = ("_body", "_client", "_held", "_owner", "_state", "_traffic")

    def __init__(self, owner: DeliveryOwner, client: ClientStream, traffic: HTTPTraffic) -> None:
        self._owner = owner
        self._client = client
        self._traffic = traffic
        self._state = _SENDING
        self._held: list[Any] = []
        self._body: TransformedBody | None = None

    @property
    def holding(self) -> bool:
        """True if the source must stay paused."""
        return self._state is _FILTERING or (self._body is not None and self._body.paused)

    def close(self) -> None:
        """Drop the response, or the part that has not been sent."""
        self._state = _OVER
        self._held = []
        body, self._body = self._body, None
        if body is not None:
            body.close()

    # -- the head -------------------------------------------------------------------------------

    def filter(self, events: list[Any], hooks: tuple[Any, ...]) -> None:
        """Send the head after ``hooks``. ``events``: the body received so far."""
        self._state = _FILTERING
        self._held = events
        run_hooks(self._owner, self._traffic, hooks, self._filtered)
        if self._is_filtering():
            self._owner.hold_source(True)

    def _is_filtering(self) -> bool:
        return self._state is _FILTERING

    def _filtered(self) -> None:
        if self._state is not _FILTERING:
            return
        events, self._held = self._held, []
        try:
            _check_final(self._traffic.response)
        except BAD_HEAD as error:
            self._bad_head(error)
            return
        self._state = _SENDING
        self.send(events)
        if not self._owner.over:
            self._owner.hold_source(False)

    def send(self, events: list[Any]) -> None:
        """Send the head with the body received so far, if the response may have one."""
        traffic = self._traffic
        head = traffic.response
        end: End | None
        if traffic.request.method == b"HEAD" or (
            isinstance(head, ResponseHead) and head.status in (204, 304)
        ):
            data, end = b"", self._bodiless(events)
        else:
            data, end = gather(events)
        try:
            if traffic.response_transforms is not None:
                data, end = self._transformed(data, end)
            client = self._client
            if isinstance(client, ClientSender):  # the same as below, compiled to a C call
                client.send_response(head, data, end)  # type: ignore[arg-type]
            else:
                client.send_response(head, data, end)  # type: ignore[arg-type]
        except ProxyError as error:
            self._owner.fail(error)
            return
        except BAD_HEAD as error:
            self._bad_head(error)
            return
        traffic.status = traffic.response.status  # type: ignore[union-attr]
        traffic.bytes_out += len(data)
        if end is None:
            traffic.lose_body()  # from here on the response cannot be replaced
        elif not self._owner.over:
            self._end()

    def _bodiless(self, events: list[Any]) -> End:
        """Drop the body of a response that has none by its method or status (RFC 9110 §6.4.1).

        A filter may have changed one of these, and a source need not check the method.
        """
        if events and type(events[-1]) is End:
            end: End = events[-1]
            return end
        self._owner.drop_source()  # more of it follows
        return END

    def _end(self) -> None:
        if self._body is not None:
            self.close()
        self._owner.delivered()

    def _bad_head(self, error: Exception) -> None:
        traffic = self._traffic
        what = "reply" if traffic.source in ("reply", "error") else "response"
        self._owner.fail(bad_head(traffic.frontend_name, what, error))

    # -- the body -------------------------------------------------------------------------------

    def more(self, events: list[Any]) -> None:
        """Handle more of the body."""
        if self._state is _FILTERING:
            self._held.extend(events)
            return
        data, end = gather(events)
        if self._body is not None:
            try:
                data, end = self._body.feed(data, end)
            except ProxyError as error:
                self._owner.fail(error)
                return
        self._send_on(data, end)

    def offer(self, data: Any) -> int:
        """See :meth:`~lbproxy.proxy.http.sourcing.Sourcing.offer`."""
        client = self._client
        if self._state is not _SENDING or self._body is not None:
            return -1
        if not isinstance(client, ClientSender):
            return -1
        sent = client.offer(data)
        if sent > 0:
            self._traffic.bytes_out += sent
        return sent

    def _send_on(self, data: bytes, end: End | None) -> None:
        """Send more of the body."""
        self._traffic.bytes_out += len(data)
        if data or end is not None:
            self._client.send_data(data, end)
        if end is not None and not self._owner.over:
            self._end()

    def _transformed(self, data: bytes, end: End | None) -> tuple[bytes, End | None]:
        """Start to send the body through transforms. Raises ProxyError if one fails."""
        traffic = self._traffic
        head, transforms = traffic.response, traffic.response_transforms
        assert transforms is not None
        if head is None:
            return data, end
        if traffic.request.method == b"HEAD" or head.status in (204, 304):
            if not all(one.keeps_length for one in transforms):
                head.remove_header(b"Content-Length")  # they belong to another body
            return data, end
        frontend = traffic.frontend
        self._body = body = TransformedBody(
            transforms,
            frontend.wheel,
            frontend.timeout_filter,
            self._owner.hold_source,
            self._send_on,
            self._owner.fail,
        )
        return body.start(head, data, end)


def bad_head(frontend: str, what: str, error: Exception) -> ProxyError:
    """Log that a head cannot be sent because of a filter, and return the failure."""
    detail = f"{what} cannot be sent: {error}"
    _quiet.warn(f"{frontend} head", "frontend {name}: {detail}", name=frontend, detail=detail)
    return ProxyError(Kind.FILTER_FAILED, detail)


def _check_final(head: Any) -> None:
    """Raise ValueError, TypeError or AttributeError for a head that is not a valid final one."""
    if not isinstance(head, ResponseHead):
        raise TypeError(f"response is {type(head).__name__}")
    if head.status < 200:
        raise ValueError(f"status {head.status}")


def gather(events: list[Any]) -> tuple[bytes, End | None]:
    """Return the body bytes and the end of one batch of events."""
    count = len(events)
    if count == 2 and type(events[0]) is bytes and type(events[1]) is End:
        return events[0], events[1]
    if count == 1:
        event = events[0]
        return (event, None) if type(event) is bytes else (b"", event)
    data: list[bytes] = []
    end: End | None = None
    for event in events:
        if type(event) is bytes:
            data.append(event)
        else:
            end = event
    return b"".join(data), end
