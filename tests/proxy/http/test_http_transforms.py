"""Bodies that filters change on their way, in both directions."""

from __future__ import annotations

from types import MethodType
from typing import Any

import pytest

from lbproxy.http.message import Reply
from lbproxy.http.transform import Transform
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)


class Double(Transform):
    """Each byte twice, and a mark at the end."""

    def data(self, data: bytes) -> bytes:
        return bytes(byte for one in data for byte in (one, one))

    def end(self) -> bytes:
        return b"."


class Upper(Transform):
    keeps_length = True

    def data(self, data: bytes) -> bytes:
        return data.upper()


class Collect(Transform):
    """Nothing before the end."""

    def __init__(self) -> None:
        self.all = b""

    def start(self, head: Any) -> None:
        head.set_header(b"X-Seen", b"yes")

    def data(self, data: bytes) -> bytes:
        self.all += data
        return b""

    def end(self) -> bytes:
        return self.all[::-1]


class Pausing(Transform):
    """Pauses with the first bytes, which it gives back when it goes on."""

    keeps_length = True

    def data(self, data: bytes) -> bytes:
        if not hasattr(self, "went"):
            self.went = True
            self.flow.pause()
        return data


class Waiting(Transform):
    """Pauses with each piece, and puts a mark behind the body."""

    def data(self, data: bytes) -> bytes:
        self.flow.pause()
        return data

    def end(self) -> bytes:
        return b"!"


class BadHead(Transform):
    def start(self, head: Any) -> None:
        head.set_header(b"X", b"a\r\nb")


class Broken(Transform):
    def data(self, data: bytes) -> bytes:
        raise ZeroDivisionError


class Using:
    """Hands over transforms in one phase."""

    def __init__(self, phase: str, *kinds: Any) -> None:
        self.made: list[Any] = []
        kind = phase.removeprefix("server_")

        def act(self: Any, traffic: Any) -> None:
            for one in kinds:
                self.made.append(one())
                getattr(traffic, f"transform_{kind}")(self.made[-1])

        setattr(self, phase, MethodType(act, self))


class Replying:
    def response(self, traffic: Any) -> Any:
        return Reply(200, b"short\n")


def answer(r: Any, request: bytes = GET, response: bytes = OK) -> tuple[Any, Any]:
    client, server = r.talk(request)
    server.send(response)
    r.advance(0.1)
    return client, server


def test_a_response_that_is_there_has_the_length_of_the_output(rig):
    client, _ = answer(rig(filters=[Using("response", Double)]))
    head, _, body = client.received.partition(b"\r\n\r\n")
    assert (b"Content-Length: 5" in head, body) == (True, b"hhii.")


def test_in_pieces_it_is_chunked(rig):
    r = rig(filters=[Using("response", Double)])
    client, server = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    assert client.received.endswith(b"\r\n\r\n4\r\naabb\r\n")
    server.send(b"cd")
    r.advance(0.1)
    assert client.received.endswith(b"5\r\nccdd.\r\n0\r\n\r\n")
    assert b"Content-Length" not in client.received
    assert r.closes == ["ok"]
    assert r.log[0].bytes_out == 9


def test_a_transform_that_keeps_the_length(rig):
    r = rig(filters=[Using("response", Upper)])
    client, server = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    server.send(b"cd")
    r.advance(0.1)
    assert b"Content-Length: 4\r\n" in client.received
    assert client.received.endswith(b"ABCD")


def test_the_first_one_gets_what_the_server_sent(rig):
    client, _ = answer(rig(filters=[Using("response", Double, Collect)]))
    assert b"X-Seen: yes" in client.received
    assert client.received.endswith(b".iihh")


@pytest.mark.parametrize(
    "response",
    [b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 No\r\n\r\n"],
)
def test_no_body(rig, response):
    client, _ = answer(rig(filters=[Using("response", Double)]), GET, response)
    assert client.received.endswith(b"\r\n\r\n")


def test_the_length_in_a_response_to_head_would_be_wrong(rig):
    request = GET.replace(b"GET", b"HEAD")
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    client, _ = answer(rig(filters=[Using("response", Double)]), request, response)
    assert b"Content-Length" not in client.received
    client, _ = answer(rig(filters=[Using("response", Upper)]), request, response)
    assert b"Content-Length: 5" in client.received


def test_a_reply_drops_what_was_meant_for_the_servers_body(rig):
    """It had the length of the reply and the body of the transform, or the other way round."""
    tapped: list[bytes] = []

    class Tapping:
        def response(self, traffic: Any) -> None:
            traffic.tap_response(Tap, tapped)

    class Tap:
        def __init__(self, stream: Any, note: list[bytes]) -> None:
            self.stream, self.note = stream, note

        def send_response(self, head: Any, data: bytes, end: Any) -> None:
            self.stream.send_response(head, data, end)

        def send_data(self, data: bytes, end: Any) -> None:
            self.note.append(data)
            self.stream.send_data(data + b"more than that", end)

    for first in (Using("response", Double), Tapping()):
        client, _ = answer(rig(filters=[first, Replying()]))
        head, _, body = client.received.partition(b"\r\n\r\n")
        assert b"Content-Length: 6\r\n" in head + b"\r\n"
        assert body == b"short\n"
    assert not tapped


def test_a_tap_hears_the_body(rig):
    tapped: list[bytes] = []

    class Tap:
        def __init__(self, stream: Any, note: list[bytes]) -> None:
            self.stream, self.note = stream, note

        def send_response(self, head: Any, data: bytes, end: Any) -> None:
            self.stream.send_response(head, data, end)

        def send_data(self, data: bytes, end: Any) -> None:
            self.note.append(data)
            self.stream.send_data(data, end)

    class Tapping:
        def response(self, traffic: Any) -> None:
            traffic.tap_response(Tap, tapped)

    client, _ = answer(rig(filters=[Tapping()]))
    assert client.received.endswith(b"\r\n\r\nhi")
    assert tapped == [b"hi"]


def test_a_transform_that_fails(rig):
    r = rig(filters=[Using("response", Broken)])
    client, _ = answer(r)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert (r.closes, r.state().counters.failed) == (["filter_failed"], 0)
    client, server = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 200 ")
    server.send(b"ab")
    r.advance(0.1)
    assert client.closed
    assert r.closes == ["filter_failed"] * 2


def test_a_transform_pauses_the_server(rig):
    using = Using("response", Pausing)
    r = rig(filters=[using])
    client, server = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nx")
    server.send(b"y" * 899_999)
    r.advance(1)
    assert client.received.endswith(b"\r\n\r\nx")
    assert server.transport._unsent()
    using.made[0].flow.resume()
    r.advance(1)
    assert client.received.endswith(b"\r\n\r\nx" + b"y" * 899_999)
    assert r.closes == ["ok"]


def test_a_pause_behind_the_end(rig):
    """The server is done; the client gets the rest when the transform goes on."""
    using = Using("response", Pausing)
    r = rig(filters=[using])
    client, server = answer(r, GET, OK)
    assert client.received.endswith(b"hi")
    assert r.closes == []
    assert r.state().connector.idle == 1
    using.made[0].flow.resume()
    assert r.closes == ["ok"]
    client.take()
    client.send(GET)
    assert server.received.count(b"GET") == 2


def test_a_pause_after_the_end_does_nothing(rig):
    """A transform that something else still calls."""
    using = Using("response", Double)
    r = rig(filters=[using])
    client, server = answer(r)
    client.send(GET)
    flow = using.made[0].flow
    flow.pause(1)
    assert not flow._body._timer.armed
    server.send(OK)
    r.advance(5)
    assert client.received.count(b"hhii.") == 2
    assert r.closes == ["ok", "ok"]


def test_a_pause_has_a_deadline(rig):
    r = rig(filters=[Using("response", Pausing)], web="timeout_filter = 2s")
    client, _ = answer(r)
    r.advance(3)
    assert client.closed
    assert r.closes == ["filter_timeout"]


def test_a_client_that_leaves_during_a_pause(rig):
    using = Using("response", Pausing)
    r = rig(filters=[using])
    client, _ = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    client.abort()
    r.advance(0)
    using.made[0].flow.resume()
    assert r.closes == ["client_gone"]


def test_the_end_comes_once_though_a_later_one_pauses(rig):
    """The first one ended the body again each time the second one went on."""
    using = Using("response", Double, Waiting)
    r = rig(filters=[using])
    client, _ = answer(r)
    using.made[1].flow.resume()
    r.advance(0)
    assert client.received.endswith(b"\r\n5\r\nhhii.\r\n1\r\n!\r\n0\r\n\r\n")


def test_two_that_pause(rig):
    """The first one to go on took the pause from the other."""
    using = Using("response", Waiting, Waiting)
    r = rig(filters=[using])
    client, server = answer(r, GET, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    first, second = using.made
    first.flow.resume()
    first.flow.resume()
    server.send(b"cd")
    r.advance(0.1)
    assert client.received.endswith(b"\r\n\r\n2\r\nab\r\n")
    for one in (second, first, second, second):
        one.flow.resume()
        r.advance(0.1)
    end = b"1\r\n!\r\n1\r\n!\r\n0\r\n\r\n"
    assert client.received.endswith(b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n" + end)
    assert r.closes == ["ok"]


def test_one_that_goes_on_after_its_response_failed(rig):
    """What it still had was sent behind the error page, on a connection that is kept."""
    using = Using("response", Waiting, BadHead)
    r = rig(filters=[using])
    client, _ = answer(r)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    client.take()
    using.made[0].flow.resume()
    r.advance(0)
    assert client.received == b""
    assert r.closes == ["filter_failed"]


def test_a_closed_body_is_no_reference_cycle(rig):
    using = Using("response", Waiting)
    answer(rig(filters=[using], web="timeout_filter = 50ms"))
    body = using.made[0].flow._body
    assert not body._transforms
    assert not any(callable(one) and hasattr(one, "__self__") for one in vars(body).values())


# -- requests ------------------------------------------------------------------------------------


def test_a_request_body(rig):
    r = rig(filters=[Using("server_request", Double)])
    _, server = r.talk(post(b"abc"))
    head, _, body = server.received.partition(b"\r\n\r\n")
    assert (b"Content-Length: 7" in head, body) == (True, b"aabbcc.")


def test_a_request_body_in_pieces(rig):
    r = rig(filters=[Using("server_request", Double)])
    client = r.client()
    origin = r.raw()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    (server,) = origin.connections
    assert b"Transfer-Encoding: chunked" in server.received
    client.send(b"bc")
    assert server.received.endswith(b"2\r\naa\r\n4\r\nbbcc\r\n1\r\n.\r\n0\r\n\r\n")
    server.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_request_without_a_body_has_none_to_change(rig):
    using = Using("server_request", Double)
    _, server = rig(filters=[using]).talk(GET)
    assert server.received.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in server.received


def test_transforms_are_made_anew_for_every_attempt(rig):
    using = Using("server_request", Collect)
    r = rig(filters=[using], servers=TWO_SERVERS, app="retry_on = connect reset 503")
    first, second = r.raw(A), r.raw(B)
    client = r.client()
    client.send(post(b"abc").replace(b"POST", b"PUT"))
    (server,) = first.connections
    assert server.received.endswith(b"cba")
    server.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    r.advance(0.1)
    (server,) = second.connections
    assert server.received.endswith(b"cba")
    server.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert len(using.made) == 2


def test_a_request_transform_pauses_the_client(rig):
    using = Using("server_request", Pausing)
    r = rig(filters=[using])
    client = r.client()
    origin = r.raw()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na")
    (server,) = origin.connections
    client.send(b"bcd")
    assert not server.received.endswith(b"bcd")
    using.made[0].flow.resume()
    r.advance(0)
    assert server.received.endswith(b"abcd")
    server.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_request_transform_that_fails(rig):
    r = rig(filters=[Using("server_request", Broken)])
    r.raw()
    client = r.client()
    client.send(post(b"abc"))
    r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_failed"]


def test_a_request_that_goes_out_again_has_new_transforms(rig):
    """A pooled connection was dead: the body was in what the transform had collected already."""
    using = Using("server_request", Collect)
    r = rig(filters=[using])
    client, server = answer(r)
    client.send(post(b"abc").replace(b"POST", b"PUT"))
    server.abort()
    r.advance(0.1)
    assert server.received.endswith(b"\r\n\r\ncba")
    again = r.lb.origins[A].connections[-1]
    assert again is not server
    assert again.received.endswith(b"X-Seen: yes\r\nContent-Length: 3\r\n\r\ncba")
    again.send(OK)
    r.advance(0.1)
    assert r.closes == ["ok", "ok"]
    assert r.log[1].attempts == 1


RETRY = "retry_on = connect reset 503"


@pytest.mark.parametrize("status", [0, 503])
def test_a_transform_of_an_attempt_that_is_over(rig, status):
    """Its rest went to the server of the next attempt."""
    using = Using("server_request", Waiting)
    r = rig(filters=[using], servers=TWO_SERVERS, app=RETRY)
    first, second = r.raw(A), r.raw(B)
    client = r.client()
    client.send(post(b"abc").replace(b"POST", b"PUT"))
    (server,) = first.connections
    if status:
        server.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        r.advance(0)
    else:
        server.abort()
    r.advance(0.1)
    (server,) = second.connections
    using.made[0].flow.resume()
    r.advance(0)
    assert server.received.endswith(b"\r\n3\r\nabc\r\n")
    using.made[1].flow.resume()
    r.advance(0)
    assert server.received.endswith(b"\r\n3\r\nabc\r\n1\r\n!\r\n0\r\n\r\n")
    server.send(OK)
    r.advance(0.1)
    assert r.closes == ["ok"]


def test_a_retry_after_a_pause_takes_the_rest_of_the_body(rig):
    """The client was paused for the transform of the first attempt, and stayed so."""
    using = Using("server_request", Pausing)

    class OnlyFirst:
        def server_request(self, traffic: Any) -> None:
            if traffic.attempts == 1:
                using.server_request(traffic)  # type: ignore[attr-defined]

    r = rig(filters=[OnlyFirst()], servers=TWO_SERVERS, app=RETRY)
    first, second = r.raw(A), r.raw(B)
    client = r.client()
    client.send(post(b"abc", length=6).replace(b"POST", b"PUT"))
    client.send(b"def")
    first.connections[0].abort()
    r.advance(0.1)
    (server,) = second.connections
    assert server.received.endswith(b"\r\n\r\nabcdef")


def test_a_server_that_takes_more_does_not_end_a_pause(rig):
    """All the client had was kept in memory."""

    class Late(Transform):
        """Pauses once, at 100,000 bytes."""

        seen = 0

        def data(self, data: bytes) -> bytes:
            if self.seen < 100_000 <= self.seen + len(data):
                self.flow.pause()
            self.seen += len(data)
            return data

    using = Using("server_request", Late)
    r = rig(filters=[using])
    origin = r.raw()
    client = r.client()
    client.send(post(length=1_000_000))
    (server,) = origin.connections
    server.pause()
    client.send(b"x" * 1_000_000)
    r.advance(0.1)
    server.resume()
    r.advance(0.1)
    (late,) = using.made
    assert late.flow._body.paused
    assert not late.flow._body._kept
    late.flow.resume()
    r.advance(0.1)
    assert late.seen == 1_000_000
    assert server.received.endswith(b"x\r\n0\r\n\r\n")
