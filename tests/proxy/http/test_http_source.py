"""Sources: replies that stream, and sources that a feature would provide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from lbproxy.errors import Kind
from lbproxy.http.message import END, Reply, ResponseHead
from lbproxy.http.transform import Transform
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.http.bodystream import TURN_BYTES, respond
from lbproxy.proxy.http.source import Source
from tests.proxy.http_kit import GET, rigs

rig = pytest.fixture(rigs)

HEAD = GET.replace(b"GET", b"HEAD")


class Replying:
    """Answers every request with ``make()``."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def request(self, traffic: Any) -> Any:
        return self.make()


class Produced:
    """A generator that notes how far it was run, and whether it was closed."""

    def __init__(self, count: int, size: int = 4, fails_at: int = -1) -> None:
        self.count, self.size, self.fails_at = count, size, fails_at
        self.made = 0
        self.closed = False

    def pieces(self) -> Iterator[bytes]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise RuntimeError("no more")
                self.made += 1
                yield b"%d" % (number % 10) * self.size
        finally:
            self.closed = True


def talk(r: Any, request: bytes = GET) -> Any:
    client = r.client()
    client.send(request)
    r.advance(0.1)
    return client


def chunks(text: bytes) -> bytes:
    """The body of chunks of text without CR LF."""
    parts = text.partition(b"\r\n\r\n")[2].split(b"\r\n")
    return b"".join(parts[1::2])


# -- replies that stream -------------------------------------------------------------------------


def test_a_generator_is_sent_in_chunks(rig: Any) -> None:
    made = Produced(3)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces(), [(b"X-A", b"b")]))])
    client = talk(r)
    head = client.received.partition(b"\r\n\r\n")[0]
    assert b"Transfer-Encoding: chunked" in head and b"X-A: b" in head and b"Date: " in head
    assert chunks(client.received) == b"000011112222"
    assert made.closed and (r.closes, r.log[0].bytes_out) == (["replied"], 12)
    assert not client.closed


def test_the_length_may_be_known(rig: Any) -> None:
    r = rig(filters=[Replying(lambda: Reply(200, Produced(3).pieces(), length=12))])
    client = talk(r, GET + GET)
    assert client.received.count(b"Content-Length: 12\r\n") == 2
    assert client.received.count(b"\r\n\r\n000011112222") == 2


def test_http_10_gets_it_without_a_frame(rig: Any) -> None:
    r = rig(filters=[Replying(lambda: Reply(200, Produced(2).pieces()))])
    client = talk(r, GET.replace(b"1.1", b"1.0"))
    assert client.received.endswith(b"\r\n\r\n00001111") and client.finished


@pytest.mark.parametrize("length", [None, 12])
def test_head_runs_no_generator(rig: Any, length: int | None) -> None:
    made = Produced(3)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces(), length=length))])
    client = talk(r, HEAD)
    assert client.received.endswith(b"\r\n\r\n") and made.made == 0
    assert (b"Content-Length: 12\r\n" in client.received) is (length == 12)
    assert not client.closed


def test_an_error_before_the_first_piece_is_a_page(rig: Any) -> None:
    r = rig(filters=[Replying(lambda: Reply(200, Produced(3, fails_at=0).pieces()))])
    client = talk(r)
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_failed"] and r.log[0].detail == "body: RuntimeError: no more"


def test_an_error_midway_cuts_the_connection(rig: Any) -> None:
    made = Produced(3, fails_at=1)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces()))])
    client = talk(r)
    assert client.received.endswith(b"4\r\n0000\r\n") and client.closed and made.closed
    assert (r.closes, r.log[0].status) == (["filter_failed"], 200)


@pytest.mark.parametrize("length", [11, 13, 4, 20])
def test_another_length_than_announced_cuts_the_connection(rig: Any, length: int) -> None:
    r = rig(filters=[Replying(lambda: Reply(200, Produced(3).pieces(), length=length))])
    client = talk(r)
    assert client.closed and r.closes == ["filter_failed"]
    assert len(client.received.partition(b"\r\n\r\n")[2]) <= length


@pytest.mark.parametrize("body", [["text"], 7, None, "text"])
def test_other_things_than_bytes(rig: Any, body: Any) -> None:
    r = rig(filters=[Replying(lambda: Reply(200, body))])
    assert talk(r).received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_failed"]


def test_a_client_that_does_not_read_stops_the_generator(rig: Any) -> None:
    made = Produced(1000, size=10_000)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces(), length=10_000_000))])
    client = r.client()
    client.pause()
    client.send(GET)
    r.advance(1)
    assert made.made < 100
    before = made.made
    r.advance(1)
    assert made.made == before
    client.resume()
    for _ in range(100):
        r.advance(0.1)
    assert made.closed and len(client.received.partition(b"\r\n\r\n")[2]) == 10_000_000


def test_one_turn_gives_so_much_at_most() -> None:
    clock = Clock()
    wheel = TimerWheel(clock)
    frontend = SimpleNamespace(wheel=wheel, timeout_filter=1.0)
    sizes: list[int] = []
    sink: Any = SimpleNamespace(traffic=SimpleNamespace(frontend=frontend))
    sink.server_events = lambda events: sizes.append(
        sum(len(one) for one in events if type(one) is bytes)
    )
    respond(sink, ResponseHead(200, [], length=None), Produced(20, size=TURN_BYTES // 4).pieces())
    assert sum(sizes) == TURN_BYTES // 4, "one piece before begin() returns"
    for turn in range(1, 5):
        (call,) = (one for one in clock.calls if one.getTime() == 0)
        clock.calls.remove(call)
        call.func(*call.args)
        assert sum(sizes) == TURN_BYTES // 4 + turn * TURN_BYTES


def test_a_client_that_leaves_closes_the_generator(rig: Any) -> None:
    made = Produced(1000, size=10_000)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces()))])
    client = r.client()
    client.pause()
    client.send(GET)
    r.advance(1)
    client.abort()
    r.advance(1)
    assert made.closed and r.closes == ["client_gone"]


class Waits:
    """An asynchronous generator with a piece for each Deferred."""

    def __init__(self, *waits: Deferred[bytes]) -> None:
        self.waits = waits
        self.closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            for one in self.waits:
                yield await one
        finally:
            self.closed = True


def test_an_asynchronous_generator(rig: Any) -> None:
    waits: list[Deferred[bytes]] = [Deferred(), Deferred()]
    made = Waits(*waits)
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces()))])
    client = talk(r)
    assert client.received == b""
    waits[0].callback(b"one")
    r.advance(0.1)
    assert client.received.endswith(b"3\r\none\r\n")
    waits[1].callback(b"two")
    r.advance(0.1)
    assert chunks(client.received) == b"onetwo" and made.closed and not client.closed


def test_an_asynchronous_piece_may_take_too_long(rig: Any) -> None:
    first: Deferred[bytes] = Deferred()
    made = Waits(first, Deferred())
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces()))], web="timeout_filter = 2s")
    client = talk(r)
    first.callback(b"one")
    r.advance(3)
    assert client.closed and made.closed and r.closes == ["filter_timeout"]


def test_a_client_that_leaves_cancels_an_asynchronous_generator(rig: Any) -> None:
    made = Waits(Deferred())
    r = rig(filters=[Replying(lambda: Reply(200, made.pieces()))])
    client = talk(r)
    client.abort()
    r.advance(0.1)
    assert made.closed and r.closes == ["client_gone"]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError, MemoryError]
)
def test_a_generator_that_raises_ends_its_own_response(
    rig: Any, error: type[BaseException], later: bool
) -> None:
    def pieces() -> Any:
        yield b"one"
        raise error("on purpose")

    async def async_pieces() -> Any:
        yield b"one"
        raise error("on purpose")

    r = rig(filters=[Replying(lambda: Reply(200, async_pieces() if later else pieces()))])
    client = talk(r)
    r.advance(0.1)
    assert client.finished and not client.received.endswith(b"0\r\n\r\n")
    assert len(r.closes) == 1 and r.clients == 0
    assert talk(r).received.startswith(b"HTTP/1.1 200 "), "others are served"
    r.advance(0.1)


def test_the_request_body_is_read_meanwhile(rig: Any) -> None:
    wait: Deferred[bytes] = Deferred()
    r = rig(filters=[Replying(lambda: Reply(200, Waits(wait).pieces()))])
    client = r.client()
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
    client.send(b"x" * 50_000)
    r.advance(0.1)
    wait.callback(b"read")
    r.advance(0.1)
    assert chunks(client.received) == b"read" and r.log[0].bytes_in == 100_000
    assert not client.closed


def test_filters_with_always_see_it_and_may_transform_it(rig: Any) -> None:
    class Upper(Transform):
        def data(self, data: bytes) -> bytes:
            return data.replace(b"0", b"zero")

    class Always:
        always = True

        def response(self, traffic: Any) -> None:
            assert traffic.source == "reply"
            traffic.response.set_header(b"X-Seen", b"yes")
            traffic.transform_response(Upper())

    replying = Replying(lambda: Reply(200, Produced(2).pieces(), length=8))
    client = talk(rig(filters=[replying, Always()]))
    assert b"X-Seen: yes\r\n" in client.received
    assert chunks(client.received) == b"zero" * 4 + b"1111"


def test_an_always_filter_that_waits_holds_the_generator(rig: Any) -> None:
    wait: Deferred[None] = Deferred()

    class Always:
        always = True

        def response(self, traffic: Any) -> Any:
            return wait

    made = Produced(50, size=100)
    client = talk(r := rig(filters=[Replying(lambda: Reply(200, made.pieces())), Always()]))
    assert client.received == b"" and made.made <= 2
    wait.callback(None)
    r.advance(0.1)
    assert len(chunks(client.received)) == 5000


# -- other sources -------------------------------------------------------------------------------


class Fixed(Source):
    """Answers with ``status``."""

    def __init__(self, status: int = 200, own: bool = False, body: Any = b"fixed") -> None:
        self.status, self.body = status, body
        if own:
            self.name, self.origin = "challenge", False  # type: ignore[misc]

    def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
        length = len(self.body) if isinstance(self.body, bytes) else None
        return respond(sink, ResponseHead(self.status, [], length=length), self.body)


class Marks:
    """Marks responses; ``always`` as given."""

    def __init__(self, always: bool) -> None:
        self.always = always
        self.seen: list[str] = []

    def response(self, traffic: Any) -> None:
        self.seen.append(traffic.source)


@pytest.mark.parametrize(("own", "seen"), [(False, "server"), (True, "challenge")])
def test_a_source_says_whether_its_response_counts_as_a_servers(
    rig: Any, own: bool, seen: str
) -> None:
    ordinary, always = Marks(False), Marks(True)
    r = rig(filters=[ordinary, always])
    r.backend.source = Fixed(own=own)
    assert talk(r).received.endswith(b"\r\n\r\nfixed")
    assert (ordinary.seen, always.seen) == ([] if own else [seen], [seen])
    assert r.closes == ["replied" if own else "ok"]


def test_a_source_that_raises(rig: Any) -> None:
    class Broken(Source):
        def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
            raise ZeroDivisionError("oh")

    r = rig()
    r.backend.source = Broken()
    assert talk(r).received.startswith(b"HTTP/1.1 500 ")
    assert r.closes == ["filter_failed"] and r.log[0].detail == "Broken: ZeroDivisionError: oh"


def test_a_source_may_reply(rig: Any) -> None:
    class Refusing(Source):
        def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
            sink.hook_replied(Reply(401, b"who?"))
            return respond(sink, ResponseHead(200, [], length=2), b"no")  # its stream is over

    r = rig()
    r.backend.source = Refusing()
    client = talk(r)
    assert client.received.startswith(b"HTTP/1.1 401 ") and client.received.endswith(b"who?")
    assert r.closes == ["replied"]


def test_head_of_a_source_with_a_body(rig: Any) -> None:
    """The body that a source gives to a HEAD is not sent."""
    r = rig()
    r.backend.source = Fixed()
    client = talk(r, HEAD + GET)
    assert client.received.count(b"fixed") == 1 and client.received.endswith(b"\r\n\r\nfixed")


def test_a_generator_of_a_source_stops_while_the_client_does_not_read(rig: Any) -> None:
    made = Produced(1000, size=10_000)
    r = rig()
    r.backend.source = Fixed(body=made.pieces())
    client = r.client()
    client.pause()
    client.send(GET)
    r.advance(1)
    assert made.made < 100
    client.abort()
    r.advance(0.1)
    assert made.closed and r.log[0].close is Kind.CLIENT_GONE


def test_events_after_the_end_of_a_stream_do_nothing(rig: Any) -> None:
    class Twice(Source):
        def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
            stream = respond(sink, ResponseHead(200, [], length=2), b"hi")
            sink.server_events([ResponseHead(200, [], length=2), b"no", END])
            return stream

    r = rig()
    r.backend.source = Twice()
    assert talk(r).received.endswith(b"\r\n\r\nhi")
    assert r.closes == ["ok"]
