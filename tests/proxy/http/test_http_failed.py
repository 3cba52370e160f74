"""Phase ``failed``, and response filters that run for lbproxy's own answers."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.balance.server import AdminState
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply
from lbproxy.http.transform import Transform
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, A, post, rigs

rig = pytest.fixture(rigs)

OTHER = "\n[backend other]\nretries = 0\nservers = o 10.0.0.9:8000\n"


class Failed:
    """Does ``act(traffic, error)`` in phase ``failed``."""

    def __init__(self, act: Any) -> None:
        self.act = act
        self.seen: list[tuple[Kind, str]] = []

    def failed(self, traffic: Any, error: ProxyError) -> Any:
        self.seen.append((error.kind, traffic.server_name))
        return self.act(traffic, error)


def page(traffic: Any, error: ProxyError) -> Any:
    return Reply(error.status, b"sorry\n")


def fail(r: Any, request: bytes = GET) -> Any:
    """A request whose server closes without a word."""
    client, server = r.talk(request)
    server.close()
    r.advance(0.1)
    return client


def test_a_page(rig):
    one = Failed(page)
    r = rig(filters=[one], app="retries = 0")
    client = fail(r)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert client.received.endswith(b"\r\n\r\nsorry\n")
    assert one.seen == [(Kind.SERVER_GONE, "a")]
    assert (r.closes, r.log[0].status) == (["server_gone"], 502)
    assert r.log[0].detail


def test_nothing_to_say(rig):
    client = fail(rig(filters=[Failed(lambda traffic, error: None)], app="retries = 0"))
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert b"<h1>502" in client.received


def test_it_may_wait(rig):
    waits: Deferred[Any] = Deferred()
    r = rig(filters=[Failed(lambda traffic, error: waits)], app="retries = 0")
    client = fail(r)
    assert client.received == b""
    waits.callback(Reply(503, b"later"))
    r.advance(0)
    assert client.received.endswith(b"later")
    assert r.closes == ["server_gone"]


@pytest.mark.parametrize("more", [b"Host: a\r\n\r\n" + GET, b"X Y: a\r\n\r\n", b""])
def test_what_follows_a_head_that_was_too_late_is_not_read(rig, more):
    waits: Deferred[Any] = Deferred()
    r = rig(
        filters=[Failed(lambda traffic, error: waits)],
        web="timeout_header = 2s\nabort_on_close = no",
    )
    client = r.client()
    client.send(b"GET / HTTP/1.1\r\n")
    r.advance(3)
    if more:
        client.send(more)
    else:
        client.half_close()
    r.advance(0)
    waits.callback(Reply(408, b"late"))
    r.advance(0.1)
    assert client.received.count(b"HTTP/1.1 ") == 1
    assert client.received.endswith(b"late")
    assert r.closes == ["client_timeout"]


def test_it_may_wait_too_long(rig):
    r = rig(
        filters=[Failed(lambda traffic, error: Deferred())],
        app="retries = 0",
        web="timeout_filter = 2s",
    )
    client = fail(r)
    r.advance(3)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_timeout"]


def test_the_client_leaves_while_it_waits(rig):
    r = rig(filters=[Failed(lambda traffic, error: Deferred())], app="retries = 0")
    client = fail(r)
    client.abort()
    r.advance(0)
    assert r.closes == ["client_gone"]


@pytest.mark.parametrize("error", [ZeroDivisionError(), ProxyError(Kind.DENIED, "no")])
def test_it_fails_itself(rig, error):
    def act(traffic: Any, error_before: Any) -> None:
        raise error

    one = Failed(act)
    client = fail(rig(filters=[one], app="retries = 0"))
    status = 403 if isinstance(error, ProxyError) else 500
    assert client.received.startswith(b"HTTP/1.1 %d " % status)
    assert len(one.seen) == 1


def test_a_cut_response_has_no_page(rig):
    one = Failed(page)
    r = rig(filters=[one])
    client, server = r.talk()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    server.close()
    r.advance(0.1)
    assert client.closed
    assert not one.seen


def test_before_there_is_a_backend(rig):
    one = Failed(page)
    r = rig(filters=[one])
    client = r.client()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert client.received.endswith(b"sorry\n")
    assert one.seen == [(Kind.BAD_REQUEST, "")]


def move(traffic: Any, error: ProxyError) -> None:
    traffic.backend_name = "other"


def two_backends(rig: Any, act: Any = move) -> tuple[Any, Any, Failed]:
    one = Failed(act)
    r = rig(
        filters=[one],
        app="retries = 0",
        sections=OTHER,
        web="routes = path /never -> other",
    )
    return r, r.raw("10.0.0.9:8000"), one


def test_another_backend(rig):
    r, other, _ = two_backends(rig)
    client = fail(r, post(b"body"))
    (server,) = other.connections
    assert server.received.endswith(b"\r\n\r\nbody")
    server.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert (r.closes, r.log[0].server, r.log[0].attempts) == (["ok"], "o", 2)


def test_the_other_backend_fails_too(rig):
    r, other, one = two_backends(
        rig,
        lambda traffic, error: (
            move(traffic, error) or page(traffic, error)
            if traffic.attempts > 1
            else move(traffic, error)
        ),
    )
    client = fail(r)
    other.connections[0].close()
    r.advance(0.1)
    assert client.received.endswith(b"sorry\n")
    assert [name for _, name in one.seen] == ["a", "o"]


def test_once_only(rig):
    names = iter(["other", "app", "other"])

    def back_and_forth(traffic: Any, error: ProxyError) -> None:
        traffic.backend_name = next(names)

    r, other, _ = two_backends(rig, back_and_forth)
    client = fail(r)
    other.connections[0].close()
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert r.log[0].server == "o"


def test_no_such_backend(rig):
    def act(traffic: Any, error: ProxyError) -> None:
        traffic.backend_name = "none"

    client = fail(rig(filters=[Failed(act)], app="retries = 0"))
    assert client.received.startswith(b"HTTP/1.1 500 ")


class Ask:
    """Lets each request wait for ``answer``."""

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()

    def request(self, traffic: Any) -> Deferred[Any]:
        return self.answer


def test_the_other_backend_gets_the_rest_of_a_body_that_was_held_back(rig):
    """The first backend has no server, so it fails while the exchange still begins with it."""
    ask = Ask()
    r = rig(
        filters=[ask, Failed(move)],
        app="retries = 0\nno_server = fail",
        sections=OTHER,
        web="routes = path /never -> other",
    )
    r.backend.set_admin("a", AdminState.MAINT)
    other = r.raw("10.0.0.9:8000")
    client = r.client()
    client.send(post(length=9))
    client.send(b"abc")
    client.send(b"def")
    ask.answer.callback(None)
    r.advance(0.1)
    client.send(b"ghi")
    (server,) = other.connections
    assert server.received.endswith(b"\r\n\r\nabcdefghi")
    server.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_body_that_is_gone_goes_nowhere(rig):
    r, other, _ = two_backends(rig)
    client = r.client()
    origin = r.raw()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
    client.send(b"x" * 800_000)
    origin.connections[0].close()
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert not other.connections


# -- always --------------------------------------------------------------------------------------


class Marks:
    """Marks responses, of servers only or always."""

    def __init__(self, *, always: bool, value: Any = b"1") -> None:
        self.always = always
        self.value = value
        self.sources: list[str] = []

    def response(self, traffic: Any) -> None:
        self.sources.append(traffic.source)
        traffic.response.set_header(b"X-Mark", self.value)


class Answers:
    def request(self, traffic: Any) -> Any:
        return Reply(200, b"mine") if traffic.request.path == b"/mine" else None


@pytest.mark.parametrize("always", [False, True])
def test_whose_responses_are_filtered(rig, always):
    one = Marks(always=always)
    r = rig(filters=[Answers(), one], app="retries = 0")
    client, server = r.talk()
    server.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    server.close()
    r.advance(0)
    assert b"X-Mark: 1" in client.take()
    client.send(GET.replace(b" / ", b" /mine "))
    assert (b"X-Mark: 1" in client.take()) is always
    client = fail(r)
    assert (b"X-Mark: 1" in client.received) is always
    assert one.sources == (["server", "reply", "error"] if always else ["server"])


def test_a_header_that_cannot_be_sent_is_left_out_of_the_page(rig):
    r = rig(filters=[Answers(), Marks(always=True, value="text")])
    client = r.client()
    client.send(GET.replace(b" / ", b" /mine "))
    r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert b"X-Mark" not in client.received
    assert r.closes == ["filter_failed"]


class Spoils:
    def __init__(self, how: str) -> None:
        self.how = how

    def response(self, traffic: Any) -> None:
        if self.how == "none":
            traffic.response = None
        else:
            traffic.response.headers.append(("X-Text", "text"))


@pytest.mark.parametrize("how", ["none", "text"])
def test_an_impossible_head_is_a_500(rig, how):
    r = rig(filters=[Spoils(how)])
    client, server = r.talk()
    server.send(OK)
    r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_failed"]
    assert r.clients == 1


def test_set_header_always():
    lb = LB.from_config(
        f"""
        [frontend web]
        listen = tcp:8080
        filters =
            set-header response always X-Frame-Options DENY
            set-header response X-Served yes
        routes =
            path /old -> redirect 301 /new
            default -> app
        [backend app]
        servers = a {A}
        """
    )
    lb.tcp_origin("a", A, lambda data: OK)
    got = lb.get("http://a/")
    assert (got.header("X-Frame-Options"), got.header("X-Served")) == ("DENY", "yes")
    got = lb.get("http://a/old")
    assert (got.status, got.header("X-Frame-Options"), got.header("X-Served")) == (
        301,
        "DENY",
        "",
    )


def test_another_backend_gets_transforms_of_its_own(rig):
    """Those of the response that failed changed the second one too."""

    class Double(Transform):
        def data(self, data: bytes) -> bytes:
            return data + data

    class Doubling:
        def response(self, traffic: Any) -> None:
            traffic.transform_response(Double())

    class RefusingFirst:
        def response(self, traffic: Any) -> None:
            if traffic.backend_name == "app":
                raise ProxyError(Kind.FILTER_FAILED, "no")

    def move(traffic: Any, error: ProxyError) -> None:
        traffic.backend_name = "other"

    other = OTHER.replace("retries", "mode = http\nretries")
    filters = [Doubling(), RefusingFirst(), Failed(move)]
    r = rig(filters=filters, sections=other)
    origin = r.raw("10.0.0.9:8000")
    client, server = r.talk()
    server.send(OK)
    r.advance(0.1)
    origin.connections[0].send(OK)
    r.advance(0.1)
    assert client.received.endswith(b"\r\n\r\nhihi")


@pytest.mark.parametrize(("number", "sent"), [(204, 204), (304, 304), (100, 500), (101, 500)])
def test_a_page_whose_status_a_filter_changes(rig, number, sent):
    class Changing:
        always = True

        def response(self, traffic: Any) -> None:
            traffic.response.status = number

    client = fail(rig(filters=[Changing(), Failed(page)], app="retries = 0"))
    head, _, body = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % sent)
    assert (body == b"") is (sent != 500)


def test_a_source_that_keeps_no_request_body(rig):
    """The other backend got the head, and nothing of the body that it announced."""

    class Gone(Source):
        def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
            sink.server_failed(ProxyError(Kind.SERVER_GONE, "gone"))
            return STARTING

    def move(traffic: Any, error: ProxyError) -> None:
        traffic.backend_name = "other"

    other = OTHER.replace("retries", "mode = http\nretries")
    r = rig(filters=[Failed(move)], sections=other)
    r.backend.source = Gone()
    origin = r.raw("10.0.0.9:8000")
    client = r.client()
    client.send(post(b"abc"))
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert not origin.connections
    client.take()
    client.send(GET)
    r.advance(0.1)
    origin.connections[0].send(OK)
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 200 ")
