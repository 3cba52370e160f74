"""A stream that waits, and then lets another one serve the exchange."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, End
from lbproxy.proxy.http.deferredstream import DeferredStream
from lbproxy.proxy.http.sink import Asking


class Sink(Asking):
    """Notes the failure of its exchange."""

    def __init__(self) -> None:
        super().__init__(None)
        self.error: ProxyError | None = None

    def fail(self, error: ProxyError) -> None:
        assert self.error is None
        self.error = error


class Inner:
    """Notes the calls that it gets."""

    queued = True

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def send_body(self, data: bytes, end: End | None) -> None:
        self.calls.append((data, end))

    def pause_response(self) -> None:
        self.calls.append("pause")

    def resume_response(self) -> None:
        self.calls.append("resume")

    def start_tunnel(self) -> bytes:
        return b"first"

    def close(self, *, reuse: bool) -> None:
        self.calls.append(("close", reuse))


class Waiting(DeferredStream):
    """Notes what happens during the wait."""

    def __init__(self) -> None:
        self.sink = Sink()
        super().__init__(self.sink)
        self.calls: list[Any] = []

    def ready(self, begin: Any) -> None:
        self._hand_over(self, begin)

    def answered(self) -> None:
        self._end()

    def _end(self) -> None:
        super()._end()
        self.calls.append("end")

    def _take_body(self, data: bytes, end: End | None) -> None:
        self.calls.append((data, end))

    def _client_resumed(self) -> None:
        self.calls.append("resumed")

    def _client_left(self) -> None:
        self.calls.append("left")


@pytest.fixture
def stream() -> Waiting:
    return Waiting()


def use(stream: Any) -> None:
    """Call each method of a stream that a client can cause."""
    stream.send_body(b"x", END)
    stream.pause_response()
    stream.resume_response()
    stream.close(reuse=True)


def test_the_subclass_gets_what_happens_during_the_wait(stream: Waiting) -> None:
    assert stream.queued
    use(stream)
    assert stream.calls == [(b"x", END), "resumed", "end", "left"]


def test_the_other_stream_gets_everything_after_the_hand_over(stream: Waiting) -> None:
    inner = Inner()
    stream.ready(lambda: inner)
    assert stream.calls == ["end"] and inner.calls == []
    use(stream)
    assert inner.calls == [(b"x", END), "pause", "resume", ("close", True)]
    assert stream.calls == ["end"]


def test_whether_the_request_waits_is_asked_of_the_other_stream(stream: Waiting) -> None:
    inner = Inner()
    stream.ready(lambda: inner)
    assert stream.queued
    inner.queued = False
    assert not stream.queued


@pytest.mark.parametrize("resumed", [False, True])
def test_a_pause_is_passed_on(stream: Waiting, resumed: bool) -> None:
    stream.pause_response()
    if resumed:
        stream.resume_response()
    inner = Inner()
    stream.ready(lambda: inner)
    assert inner.calls == ([] if resumed else ["pause"])


def test_a_pause_while_the_other_stream_begins_is_passed_on(stream: Waiting) -> None:
    inner = Inner()

    def begin() -> Inner:
        stream.pause_response()
        return inner

    stream.ready(begin)
    assert inner.calls == ["pause"]


def test_a_client_that_leaves_while_the_other_stream_begins_closes_it(stream: Waiting) -> None:
    inner = Inner()

    def begin() -> Inner:
        stream.close(reuse=False)
        return inner

    stream.ready(begin)
    use(stream)
    assert inner.calls == [("close", False)]
    assert stream.calls == ["end"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
def test_an_exception_fails_the_exchange(stream: Waiting, error: type[BaseException]) -> None:
    def begin() -> Inner:
        raise error("on purpose")

    stream.ready(begin)
    failure = stream.sink.error
    assert failure is not None and failure.kind is Kind.FILTER_FAILED
    assert str(failure).endswith(f"Waiting: {error.__name__}: on purpose")
    use(stream)
    assert stream.calls == ["end"]


def test_nothing_happens_once_the_subclass_has_answered(stream: Waiting) -> None:
    stream.answered()
    use(stream)
    assert stream.calls == ["end"]


def test_it_closes_once(stream: Waiting) -> None:
    stream.close(reuse=False)
    stream.close(reuse=False)
    assert stream.calls == ["end", "left"]


def test_a_tunnel_needs_the_other_stream(stream: Waiting) -> None:
    with pytest.raises(RuntimeError):
        stream.start_tunnel()
    stream.ready(Inner)
    assert stream.start_tunnel() == b"first"
