"""The http check against a scripted server in memory."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from lbproxy.config.model import Address
from lbproxy.probes.http import ANSWER_BYTES, HttpOptions, HttpProbe, parse_statuses
from lbproxy.registry import parse_config
from tests.probes.world import Scripted, World


def answering(*pieces: bytes, close: bool = False) -> World:
    def script(client: Scripted) -> None:
        if client.data.endswith(b"\r\n\r\n"):
            for piece in pieces:
                client.write(piece)
            if close:
                client.close()

    world = World(script)
    world.listen()
    return world


def probe(world: World, **options: Any) -> HttpProbe:
    return HttpProbe(HttpOptions(**options), world.env)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Role: primary\r\n\r\nready"


def test_a_status_that_asks_for_drain() -> None:
    world = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    result = world.check(probe(world, drain="404,410"))
    assert (result.ok, result.note, result.drain) == (True, "status 404", True)
    assert not world.check(probe(world, drain="410")).ok
    with pytest.raises(ValueError, match="drain: '4000' is not a status"):
        HttpOptions(drain="4000")


def test_the_request() -> None:
    world = answering(OK)
    options = {
        "method": "HEAD", "target": "/healthz?deep=1", "host": "app.example",
        "header": "Authorization: Basic bGI6bGI=\nX-Check:1",
    }  # fmt: skip
    assert world.check(probe(world, **options)).ok
    assert world.clients[0].data == (
        b"HEAD /healthz?deep=1 HTTP/1.1\r\nHost: app.example\r\nUser-Agent: lbproxy-check\r\n"
        b"Accept: */*\r\nConnection: close\r\nAuthorization: Basic bGI6bGI=\r\nX-Check: 1\r\n\r\n"
    )
    assert world.all_closed()


@pytest.mark.parametrize(
    ("spec", "host"),
    [
        ({}, b"10.0.0.1:8000"),
        ({"target": Address("tcp", "app.example", 80)}, b"app.example"),
        ({"target": Address("tcp", "2001:db8::1", 81)}, b"[2001:db8::1]:81"),
        ({"target": Address("unix", path="/run/app")}, b"localhost"),
        ({"sni": "inner.example"}, b"inner.example"),
    ],
)
def test_the_host(spec: dict[str, Any], host: bytes) -> None:
    world = answering(OK)
    world.check(probe(world), world.target(**spec))
    assert b"\r\nHost: " + host + b"\r\n" in world.clients[0].data


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % code


@pytest.mark.parametrize(
    ("expect", "code", "note"),
    [
        ("2xx-3xx", 204, None),
        ("2xx-3xx", 302, None),
        ("2xx-3xx", 404, "status 404, wanted 2xx-3xx"),
        ("200", 503, "status 503, wanted 200"),
        ("200,401", 401, None),
        ("200|401", 401, None),
        ("200-204", 205, "status 205, wanted 200-204"),
    ],
)
def test_statuses(expect: str, code: int, note: str | None) -> None:
    world = answering(status(code))
    result = world.check(probe(world, expect=expect))
    assert result.ok is (note is None)
    assert result.note == (note or f"status {code}")


def test_interim_answers_are_passed_over() -> None:
    world = answering(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)
    assert world.check(probe(world, body="ready")).note == "status 200"


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"body": "read"}, None),
        ({"body": "~^re.*y$"}, None),
        ({"body": "busy"}, "status 200, but 'busy' is not in the body"),
        ({"expect_header": "x-role"}, None),
        ({"expect_header": "X-Role: primary"}, None),
        ({"expect_header": "X-Role: ~^prim"}, None),
        ({"expect_header": "X-Role: prim"}, "header X-Role is 'primary', wanted 'X-Role: prim'"),
        ({"expect_header": "X-Other"}, "status 200 without header X-Other"),
    ],
)
def test_content(options: dict[str, str], note: str | None) -> None:
    world = answering(*[OK[i : i + 1] for i in range(len(OK))])
    result = world.check(probe(world, **options))
    assert result.note == (note or "status 200")
    assert result.ok is (note is None)


def test_the_body_is_not_waited_for_without_need() -> None:
    world = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    assert world.check(probe(world)).ok
    assert world.all_closed()


def test_a_huge_body_is_judged_by_its_beginning() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
    world = answering(head, b"x" * (ANSWER_BYTES - 5) + b"ready", b"x" * 500_000)
    assert world.check(probe(world, body="ready")).ok
    world = answering(head, b"x" * ANSWER_BYTES + b"ready", b"x" * 500_000)
    assert not world.check(probe(world, body="ready")).ok
    assert world.all_closed()


def test_a_body_until_close_and_a_chunked_one() -> None:
    world = answering(b"HTTP/1.0 200 OK\r\n\r\nnot yet re", b"ady", close=True)
    assert world.check(probe(world, body="ready")).ok
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n"
    )
    world = answering(chunked)
    assert world.check(probe(world, body="ready")).ok


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a proper answer: connection closed in the middle of a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "not a proper answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nready", "not a proper answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not a proper answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "not a proper answer"),
    ],
)
def test_what_is_no_answer(data: bytes, words: str) -> None:
    world = answering(data, close=True)
    result = world.check(probe(world, body="ready"))
    assert not result.ok and result.note.startswith(words)
    assert world.all_closed()


def test_silence_ends_only_when_cancelled() -> None:
    world = answering(b"HTTP/1.1 200")
    found = world.begin(probe(world))
    world.reactor.advance(30)
    assert not found
    world.running.cancel()
    world.reactor.pump()
    assert found and world.all_closed()


def test_parse_statuses() -> None:
    assert parse_statuses("200") == {200}
    assert parse_statuses("2xx") == set(range(200, 300))
    assert parse_statuses("200, 3xx|404-406") == {200, *range(300, 400), 404, 405, 406}
    assert parse_statuses("2xx-3xx") == set(range(200, 400))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expect": "20"}, "not a status"),
        ({"expect": ""}, "not a status"),
        ({"expect": "ok"}, "not a status"),
        ({"expect": "300-200"}, "wrong way round"),
        ({"method": "GE T"}, "cannot be used"),
        ({"method": "CONNECT"}, "cannot be used"),
        ({"target": "healthz"}, "not a path"),
        ({"target": "/a b"}, "not a path"),
        ({"target": "/a\r\nX: y"}, "not a path"),
        ({"host": "a b"}, "not a host name"),
        ({"host": "a/b"}, "not a host name"),
        ({"header": "nonsense"}, "not a header"),
        ({"header": "X: a\rb"}, "not a header"),
        ({"header": "X: \x00"}, "not a header"),
        ({"header": "Host: x"}, "use host=NAME"),
        ({"header": "Content-Length: 4"}, "the check's own"),
        ({"body": "~("}, "not a regular expression"),
        ({"body": "x", "method": "HEAD"}, "HEAD has none"),
        ({"expect_header": ": x"}, "not a header"),
        ({"expect_header": "X: ~["}, "not a regular expression"),
    ],
)
def test_mistakes_in_options(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HttpOptions(**options)


def test_from_the_configuration() -> None:
    config = parse_config(
        """
[frontend web]
listen = tcp:8080
backend = app
[backend app]
balance = roundrobin
servers =
    a 10.0.0.1:8000
check = http /healthz expect=200,204 header="A: b\\nC: d" body=~ok every=5s
"""
    )
    spec = config.backends[0].check
    assert spec is not None and spec.every == 5
    options = spec.probe.options
    assert options.line == ("GET", "/healthz") and options.statuses == {200, 204}
    assert options.extra == b"A: b\r\nC: d\r\n"
    assert attrs.evolve(options, expect="3xx").statuses == set(range(300, 400))
