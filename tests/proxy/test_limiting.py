"""``limits``: requests, sessions and connections against ``[limit NAME]``, on the virtual clock."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.errors import Kind
from lbproxy.http.message import RequestHead
from lbproxy.limits.cells import Cells, cell_bytes
from lbproxy.limits.window import SLICES
from lbproxy.proxy.features.limiting.key import Key, prefix_of
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.shared import BoardShared

BACKEND = "[backend app]\nservers = a 10.0.0.1:80\n"


def web(limits: str, frontend: str = "limits = one", routes: str = "default -> app") -> str:
    return (
        f"{limits}\n[frontend web]\nlisten = tcp:80\n{frontend}\nroutes =\n    {routes}\n{BACKEND}"
    )


def ask(lb: Any, path: str = "/", *headers: str, method: str = "GET") -> Any:
    """A new client that has asked once."""
    client = lb.connect("web")
    lines = [f"{method} {path} HTTP/1.1", "Host: h", *headers, "", ""]
    client.send("\r\n".join(lines).encode())
    return client


def statuses(clients: list[Any]) -> list[int]:
    return [int(client.received[9:12] or 0) for client in clients]


def field(client: Any, name: str) -> str | None:
    for line in client.received.partition(b"\r\n\r\n")[0].decode().split("\r\n"):
        key, _, value = line.partition(": ")
        if key.lower() == name.lower():
            return str(value)
    return None


def test_what_is_held_counts_after_reloads_that_made_a_rate_of_the_limit_and_back() -> None:
    at_once = web("[limit one]\nconcurrent = 2")
    with LB.from_config(at_once) as lb:
        lb.origin("a", "10.0.0.1:80", Answer(200, after=10.0))
        held = [ask(lb), ask(lb)]
        for text in (web("[limit one]\nrate = 100/s"), at_once):
            assert lb.service.reload(text).ok
        assert statuses([ask(lb)]) == [429]
        lb.advance(11)
        assert statuses(held) == [200, 200]
        assert statuses([ask(lb), ask(lb), ask(lb)]) == [0, 0, 429]


def test_burst_then_rate_and_the_fields_of_a_429() -> None:
    with LB.from_config(web("[limit one]\nrate = 100/10s burst=5")) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb) for _ in range(7)]
        assert statuses(found) == [200] * 5 + [429] * 2
        assert field(found[-1], "Retry-After") == "1"
        assert field(found[-1], "RateLimit-Policy") == '"one";q=100;w=10'
        assert field(found[-1], "RateLimit") == '"one";r=0;t=1'
        assert field(found[0], "RateLimit") is None
        lb.advance(0.2)
        assert statuses([ask(lb) for _ in range(3)]) == [200, 200, 429]
        assert lb.service.frontend("web").counts["limits"].limit_refused == 3


def test_headers_on_every_response() -> None:
    text = web("[limit one]\nrate = 2/1m\nheaders = yes", routes="path /x -> reply 410 gone")
    with LB.from_config(text.removesuffix(BACKEND)) as lb:
        found = [ask(lb, "/x"), ask(lb, "/none"), ask(lb, "/x")]
        assert statuses(found) == [410, 404, 429]
        assert [field(one, "RateLimit") for one in found] == [
            '"one";r=1;t=30',
            '"one";r=0;t=60',
            '"one";r=0;t=60',
        ]


def test_all_limits_are_asked_before_any_is_charged_and_each_counts_once() -> None:
    limits = "[limit one]\nrate = 3/1h\n[limit two]\nrate = 1/1h\nkey = {path}"
    text = web(
        limits,
        "limits =\n    one\n    two if path /two\n    one if method GET",
        "path /two -> app limits=two,one\n    path /free -> app limits=none\n    default -> app",
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb, "/two") for _ in range(5)]
        assert statuses(found) == [200, 429, 429, 429, 429]
        assert statuses([ask(lb) for _ in range(3)]) == [200, 200, 429]
        assert statuses([ask(lb, "/free") for _ in range(5)]) == [200] * 5


def test_delay_is_a_queue_with_a_bound() -> None:
    with LB.from_config(web("[limit one]\nrate = 1/1s\naction = delay queue=2")) as lb:
        origin = lb.origin("a", "10.0.0.1:80")
        found = [ask(lb) for _ in range(4)]
        assert statuses(found) == [200, 0, 0, 429]
        lb.advance(1.1)
        assert statuses(found) == [200, 200, 0, 429]
        found[2].abort()
        lb.advance(5)
        assert len(origin.requests) == 2
        limit = lb.service.frontend("web").features["limits"]._limits["one"]
        assert limit.waiting == {}


def test_a_delay_by_two_limits_counts_in_both_queues() -> None:
    text = web(
        "[limit one]\nrate = 1/1s\naction = delay queue=1\n"
        "[limit two]\nrate = 1/10s\naction = delay queue=9",
        "limits =\n    one\n    two",
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb) for _ in range(3)]) == [200, 0, 429]
        lb.advance(10.1)
        limits = lb.service.frontend("web").features["limits"]._limits
        assert limits["one"].waiting == limits["two"].waiting == {}


def test_a_long_delay_is_not_cut_by_timeout_filter() -> None:
    with LB.from_config(web("[limit one]\nrate = 1/1m\naction = delay queue=2")) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb) for _ in range(2)]
        lb.advance(61)
        assert statuses(found) == [200, 200]


def test_tarpit_log_and_window() -> None:
    text = web(
        "[limit one]\nrate = 1/1m\naction = tarpit 5s\n"
        "[limit two]\nrate = 1/10s\nmethod = window\naction = log",
        "limits =\n    one if path /pit\n    two if path /log",
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb, "/pit") for _ in range(2)]
        assert statuses(found) == [200, 0]
        lb.advance(5.1)
        assert statuses(found) == [200, 429]
        assert statuses([ask(lb, "/log") for _ in range(3)]) == [200] * 3
        counts = lb.service.frontend("web").counts["limits"]
        assert (counts.limit_refused, counts.limit_logged) == (1, 2)


def test_at_once() -> None:
    with LB.from_config(web("[limit one]\nconcurrent = 2")) as lb:
        origin = lb.origin("a", "10.0.0.1:80")
        origin.hang()
        found = [ask(lb) for _ in range(3)]
        assert statuses(found) == [0, 0, 429]
        found[0].abort()
        lb.advance(0.1)
        assert statuses([ask(lb), ask(lb)]) == [0, 429]


def test_keys() -> None:
    assert prefix_of("2001:db8:1:2:3::4", (32, 64)) == prefix_of("2001:db8:1:2::9", (32, 64))
    assert (
        prefix_of("::ffff:192.0.2.7", (24, 64)) == prefix_of("192.0.2.9", (24, 64)) == "192.0.2.0"
    )
    text = web("[limit one]\nrate = 1/1h\nkey = {header:X-Key}")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb, "/", *[f"X-Key: {key}"] * bool(key)) for key in ("a", "a", "b", "", "")]
        assert statuses(found) == [200, 429, 200, 200, 200]
        assert lb.service.reload(text.replace("1/1h", "1/1h\nempty = limit")).ok
        assert statuses([ask(lb), ask(lb), ask(lb, "/", "X-Key: a")]) == [200, 429, 429]
        shown = lb.service.frontend("web").feature_snapshot()["limits"]["limits"]["one"]
        assert shown["refused"] == 3 and "a" in shown["refused_keys"]


def test_the_client_behind_a_trusted_proxy() -> None:
    text = web("[limit one]\nrate = 1/1h", "limits = one\ntrusted_proxies = 203.0.113.0/24")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        names = ("192.0.2.1", "192.0.2.1:99", "192.0.2.2", "junk", "junk2", "::ffff:192.0.2.2")
        found = [ask(lb, "/", f"X-Forwarded-For: {name}") for name in names]
        assert statuses(found) == [200, 429, 200, 200, 429, 429]


def test_bytes_and_errors_are_judged_at_the_next_request() -> None:
    text = web(
        "[limit one]\nrate = 2/1h\nunit = errors\n"
        "[limit two]\nrate = 150/1m burst=150\nunit = bytes",
        "limits =\n    one if path /e/*\n    two if path /b",
        "path /e/no -> reply 403 no\n    path /e/login -> reply 401 who\n    default -> app",
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80", b"x" * 100)
        assert statuses([ask(lb, "/e/login") for _ in range(3)]) == [401] * 3
        assert statuses([ask(lb, "/e/ok") for _ in range(3)]) == [200] * 3
        found = [ask(lb, "/e/no"), ask(lb, "/e/login", "Authorization: x"), ask(lb, "/e/ok")]
        assert statuses(found) == [403, 401, 429]
        assert statuses([ask(lb, "/b") for _ in range(3)]) == [200, 200, 429]
        lb.advance(60)
        assert statuses([ask(lb, "/b")]) == [200]


def test_running_traffic_beyond_a_limit_of_bytes_is_cut_off() -> None:
    text = """
[limit volume]
rate = 1k/1h
unit = bytes
[frontend db]
mode = tcp
listen = tcp:5432
limits = volume
backend = pg
[backend pg]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        client, small = lb.connect("db"), lb.connect("db", client="203.0.113.77")
        for _ in range(3):
            client.send(bytes(400))
            small.send(bytes(100))
            lb.advance(1.1)
        assert client.finished and not small.finished
        assert len(client.received) < 1000
        assert lb.connect("db").finished, "the debt is judged at the next session"
        assert lb.service.frontend("db").counts["limits"].limit_refused == 2
        small.close()
        lb.advance(2)
        assert lb.connect("db", client="203.0.113.77").finished is False
    with LB.from_config(text.replace("unit", "action = log\nunit")) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        client = lb.connect("db")
        for _ in range(5):
            client.send(bytes(400))
            lb.advance(1.1)
        assert len(client.received) == 2000 and not client.finished


def test_many_that_are_cut_off_at_once_are_looked_for_once() -> None:
    text = """
[limit all]
rate = 1k/1h
unit = bytes
key = {frontend}
[frontend db]
mode = tcp
listen = tcp:5432
limits = all
backend = pg
[backend pg]
servers = a 10.0.0.1:80
"""
    looks = []

    class Clients(set[Any]):
        def __iter__(self) -> Any:
            looks.append(1)
            return super().__iter__()

    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        clients = [lb.connect("db") for _ in range(20)]
        for one in clients:
            one.send(bytes(100))
        frontend = lb.service.frontend("db")
        frontend.clients = Clients(frontend.clients)
        lb.advance(1.1)
        assert sum(one.finished for one in clients) > 10
        assert len(looks) == 1


def test_explain_shows_limits_and_bans() -> None:
    text = web(
        "[limit one]\nrate = 2/1m\n[limit two]\nrate = 1/1s\n[ban rude]\nafter = 3/1m",
        "bans = rude\nlimits =\n    one if path /a\n    two",
        "path /b -> app limits=none\n    default -> app",
    )
    config = parse_config(text)
    found = explain_http(config, "GET", "http://h/", []).as_text()
    assert "limit one if path /a: 2 requests in 60 s, 2 at once" in found
    assert "(not here)" in found
    assert "ban rude: after 3 in 60 s (4xx), for 60 s to 86400 s; then close" in found
    assert "limits none" in explain_http(config, "GET", "http://h/b", []).as_text()


def test_sessions_and_connections() -> None:
    text = (
        "[limit one]\nrate = 2/1h\n[limit two]\nrate = 1/1h\nunit = connections\n"
        "[frontend db]\nmode = tcp\nlisten = tcp:81\nlimits = one\nbackend = pg\n"
        "[backend pg]\nmode = tcp\nservers = a 10.0.0.2:80\n"
        "[frontend web]\nlisten = tcp:80\nlimits = two\nbackend = app\n" + BACKEND
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        lb.tcp_origin("a", "10.0.0.2:80")
        sessions = [lb.connect("db") for _ in range(3)]
        assert [one.finished or one.closed for one in sessions] == [False, False, True]
        assert lb.service.frontend("db").counters.closes == {Kind.RATE_LIMITED: 1}
        first, second = ask(lb), lb.connect("web")
        assert statuses([first]) == [200] and second.finished
        first.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert first.received.count(b"HTTP/1.1 200") == 2, "requests are not counted"
        assert lb.service.frontend("web").counters.refused == 1


def test_a_reload_keeps_the_counts() -> None:
    text = web("[limit one]\nrate = 2/1h\n[limit up]\nconcurrent = 1", "limits =\n    one\n    up")
    with LB.from_config(text) as lb:
        origin = lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb), ask(lb), ask(lb)]) == [200, 200, 429]
        assert lb.service.reload(text.replace("default", "path /new -> app\n    default")).ok
        assert statuses([ask(lb)]) == [429]
        assert lb.service.reload(text.replace("2/1h", "6/1h")).ok
        assert statuses([ask(lb)]) == [429], "the share that is used stays"
        lb.advance(1800)
        origin.hang()
        held = ask(lb)
        assert lb.service.reload(text.replace("2/1h", "30/1h").replace("= 1\n", "= 2\n")).ok
        assert statuses([held, ask(lb), ask(lb)]) == [0, 0, 429]
        assert lb.service.reload(text.replace("limits =\n    one\n    up", "")).ok
        assert lb.service.frontend("web").gate is None
        assert "limits" not in lb.service.frontend("web").features


def test_another_spelling_is_no_other_key() -> None:
    def found(key: str, *requests: tuple[str, ...]) -> list[int]:
        with LB.from_config(web(f"[limit one]\nrate = 1/1h\nkey = {key}")) as lb:
            lb.origin("a", "10.0.0.1:80")
            return statuses([ask(lb, *one) for one in requests])

    paths = [("/a",), ("/%61",), ("/./a",), ("//a",), ("/b/../a",)]
    assert found("{path}", *paths) == found("x {uri}", *paths) == [200, 429, 429, 429, 429]
    assert found("{path}", ("/a%2F../b",)) == [400]
    queries = [("/?k=a",), ("/?k=%61",), ("/?%6b=a",), ("/?k=z&k=a",), ("/?k=&k=a",), ("/?k=b",)]
    assert found("{query:k}", *queries) == [200, 429, 429, 429, 429, 200]
    twice = [("/", "X-Key: a"), ("/", "X-Key: z", "X-Key: a"), ("/", "X-Key:", "X-Key: a")]
    assert found("{header:X-Key}", *twice) == [200, 429, 429]
    assert found("{header:X-Key}", ("/", *[f"X-Key: {one}" for one in range(9)])) == [400]
    cookies = [("/", "Cookie: k=a"), ("/", "Cookie: k=z; k=a"), ("/", "Cookie: k=", "Cookie: k=a")]
    assert found("{client_ip} {cookie:k}", *cookies) == [200, 429, 429]
    hosts = Key("{host}", (32, 64))
    for host in (b"h", b"h:80", b"h.", b"h.:80"):
        head = RequestHead(b"GET", b"/", [], host=host)
        assert hosts.all_of(SimpleNamespace(request=head)) == ["h"]


def test_a_reload_to_another_kind_of_limit() -> None:
    def limit(lb: Any) -> Any:
        return lb.service.frontend("web").features["limits"]._limits["one"]

    text = web("[limit one]\nrate = 2/1h")
    of_connections = text.replace("2/1h", "2/1h\nunit = connections")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert lb.service.reload(of_connections).ok
        first = ask(lb)
        first.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
        assert first.received.count(b"HTTP/1.1 200") == 4
        assert lb.service.reload(text).ok
        assert lb.service.frontend("web").gate is None
        assert statuses([ask(lb), ask(lb)]) == [200, 429], "one connection was charged"
    at_once = web("[limit one]\nconcurrent = 1")
    with LB.from_config(at_once) as lb:
        lb.origin("a", "10.0.0.1:80").hang()
        held, counts = ask(lb), limit(lb).at_once
        assert counts.held == {"203.0.113.9": 1}
        assert lb.service.reload(text).ok
        held.abort()
        lb.advance(0.1)
        assert counts.held == {}
        assert lb.service.reload(at_once).ok
        held, refused = ask(lb), ask(lb)
        assert statuses([held, refused]) == [0, 429]
        held.abort()
        lb.advance(0.1)
        assert limit(lb).at_once.held == {}


@pytest.mark.parametrize("method", ["bucket", "window"])
def test_a_shorter_rate_does_not_keep_clients_out_for_the_old_time(method: str) -> None:
    text = web(f"[limit one]\nrate = 10/1h\nmethod = {method}")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb) for _ in range(11)]) == [200] * 10 + [429]
        assert lb.service.reload(text.replace("10/1h", "20/10s")).ok
        assert statuses([ask(lb)]) == [429], "the share that is used stays"
        lb.advance(12)
        assert statuses([ask(lb) for _ in range(21)]) == [200] * 20 + [429]


def test_a_connection_that_maxconn_refuses_costs_nothing() -> None:
    text = web("[limit one]\nrate = 2/1h\nunit = connections", "limits = one\nmaxconn_per_ip = 1")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        first = ask(lb)
        assert statuses([first, ask(lb), ask(lb)]) == [200, 0, 0]
        first.abort()
        lb.advance(0.1)
        second = ask(lb)
        assert statuses([second]) == [200]
        second.abort()
        lb.advance(0.1)
        assert statuses([ask(lb)]) == [0]


def test_the_own_connections_of_a_proxy_are_not_limited() -> None:
    text = web("[limit one]\nrate = 1/1h\nunit = connections").replace(
        "tcp:80", "tcp:80 accept_proxy=203.0.113.9", 1
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"

        def through(line: bytes) -> Any:
            client = lb.connect("web")
            client.send(line + b"\r\n" + get)
            return client

        assert statuses([through(b"PROXY UNKNOWN") for _ in range(3)]) == [200] * 3
        line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80"
        assert statuses([through(line) for _ in range(2)]) == [200, 0]


def test_a_delay_beyond_an_hour_is_a_refusal() -> None:
    with LB.from_config(web("[limit one]\nrate = 1/40m\naction = delay queue=5")) as lb:
        lb.origin("a", "10.0.0.1:80")
        found = [ask(lb) for _ in range(3)]
        assert statuses(found) == [200, 0, 429]
        lb.advance(2401)
        assert statuses(found) == [200, 200, 429]


def test_what_is_only_logged_is_not_charged_at_the_end() -> None:
    text = web(
        "[limit one]\nrate = 2/1m\nunit = errors\naction = log",
        routes="path /no -> reply 403 no\n    default -> reply 200 yes",
    ).removesuffix(BACKEND)
    with LB.from_config(text) as lb:
        assert statuses([ask(lb, "/no") for _ in range(50)]) == [403] * 50
        assert lb.service.frontend("web").counts["limits"].limit_logged == 48
        lb.advance(31)
        ask(lb)
        assert lb.service.frontend("web").counts["limits"].limit_logged == 48


def test_two_processes_share_a_limit() -> None:
    text = web("[limit one]\nrate = 5/1h\n[limit two]\nrate = 4/1h\nmethod = window")
    servers, keys = Board.create(2), Board.create(2, ADDRESSES)
    memory = {extra: memoryview(bytearray(cell_bytes(extra))) for extra in (0, SLICES)}
    with ExitStack() as stack:
        stack.callback(servers.close)
        stack.callback(keys.close)
        both = []
        for row in range(2):
            cells = {extra: Cells(one, extra, b"s") for extra, one in memory.items()}
            shared = BoardShared(servers, keys, row, {}, b"s", [], cells)
            both.append(stack.enter_context(LB.from_config(text, shared=shared)))
            both[row].origin("a", "10.0.0.1:80")
        assert statuses([ask(both[n % 2]) for n in range(8)]).count(200) == 5
        for lb in both:
            assert lb.service.reload(text.replace("limits = one", "limits = two")).ok
        assert statuses([ask(both[n % 2]) for n in range(8)]).count(200) == 4


def test_a_refusal_in_the_log() -> None:
    text = web("[limit one]\nrate = 1/1h", "limits = one\naccess_log = access.log json")
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        ask(lb)
        ask(lb)
        record = json.loads(lb.log_lines()[-1])
    assert (record["status"], record["close"]) == (429, "rate_limited")
    assert record["detail"] == "limit one, key 203.0.113.9" and record["request_id"]


def test_a_limit_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *given: Any) -> Any:
        raise RuntimeError("no")

    with LB.from_config(web("[limit one]\nrate = 1/1h")) as lb:
        lb.origin("a", "10.0.0.1:80")
        monkeypatch.setattr("lbproxy.limits.bucket.Buckets.ask", broken)
        assert statuses([ask(lb), ask(lb)]) == [200, 200]
        assert lb.service.reload(web("[limit one]\nrate = 1/1h\non_error = closed")).ok
        assert statuses([ask(lb)]) == [503]


@pytest.mark.parametrize(
    ("limit", "frontend", "words"),
    [
        ("rate = 5", "limits = one", "is not a rate"),
        ("rate = 0/1s", "limits = one", "out of bounds"),
        ("rate = 5/s burst=0", "limits = one", "out of bounds"),
        ("rate = 5/s bust=1", "limits = one", "unknown word"),
        ("", "limits = one", "either 'rate' or 'concurrent'"),
        ("rate = 5/s\nconcurrent = 1", "limits = one", "either 'rate' or 'concurrent'"),
        ("rate = 5/s\naction = dely", "limits = one", "is not an action"),
        ("concurrent = 1\naction = delay", "limits = one", "delay needs a 'rate'"),
        ("rate = 5/s\nkey = {client}", "limits = one", "unknown variable"),
        ("rate = 5/s\nkey = {client_ip} {backend}", "limits = one", "before the route"),
        ('rate = 5/s\nkey = ""', "limits = one", "limits nothing"),
        ("rate = 5/s\nkey = {path}\nunit = connections", "limits = one", "when a connection"),
        ("rate = 5/s\nprefix = 33 64", "limits = one", "out of bounds"),
        ("rate = 5/s\nprefix = 32", "limits = one", "two lengths"),
        ("rate = 5/s", "limits = on", "no limit 'on'.*did you mean 'one'"),
        ("rate = 5/s", "limits = one if pth /x", "one limit per line|unknown"),
        ("rate = 5/s\nunit = connections", "limits = one if path /x", "counts connections"),
    ],
)
def test_mistakes(limit: str, frontend: str, words: str) -> None:
    with pytest.raises(ConfigErrors, match=words):
        LB.from_config(web(f"[limit one]\n{limit}", frontend))


def test_mistakes_of_routes_and_tcp() -> None:
    with pytest.raises(ConfigErrors, match=r"there is no \[limit two\]"):
        LB.from_config(web("[limit one]\nrate = 5/s", "", "default -> app limits=two"))
    with pytest.raises(ConfigErrors, match="'none' stands alone"):
        LB.from_config(web("[limit one]\nrate = 5/s", "", "default -> app limits=one,none"))
    tcp = "[limit one]\nrate = 5/s\nkey = {path}\n[frontend web]\nmode = tcp\nlisten = tcp:80\n"
    with pytest.raises(ConfigErrors, match="needs mode = http"):
        LB.from_config(
            tcp + "limits = one\nbackend = a\n[backend a]\nmode = tcp\nservers = a h:1\n"
        )


def test_the_words_are_written_back() -> None:
    text = web(
        "[limit one]\nrate = 4k/90s burst=50\nkey = {client_ip} {header:X}\n"
        "action = delay queue=20\nprefix = 24 48\n[limit two]\nconcurrent = 2\naction = tarpit 5s",
        "limits =\n    one\n    two if path /login not method GET",
        "path /a -> app limits=none\n    path /b -> app limits=one,two\n    default -> app",
    )
    config = parse_config(text)
    assert parse_config(dump(config)) == config
    assert "two if path /login not method GET" in dump(config)
    assert "rate = 4096/90s burst=50" in dump(config).replace("1m30s", "90s")


FILTER = """
class Moves:
    def __init__(self, options, env):
        pass

    def early(self, traffic):
        target = traffic.request.header(b"x-target")
        if target:
            traffic.request.target = target
        host = traffic.request.header(b"x-host")
        if host:
            traffic.request.host = host


class Looks:
    def __init__(self, options, env):
        pass

    def early(self, traffic):
        pass
"""


def test_a_filter_cannot_lead_around_the_limits_of_a_route(tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text(FILTER)
    text = web(
        "[limit one]\nrate = 2/1h\n[limit two]\nrate = 9/1h\nheaders = yes",
        f"limits = two\nfilters = {tmp_path}/moves.py:Moves",
        "path /a -> app limits=one\n    path /free -> app limits=none\n    default -> app",
    )
    move = "X-Target: /a"
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb, "/", move), ask(lb, "/free", move)]) == [200, 200]
        refused = ask(lb, "/free", move)
        assert statuses([refused, ask(lb, "/", move), ask(lb, "/a")]) == [429] * 3
        assert field(refused, "RateLimit-Policy") == '"two";q=9;w=3600, "one";q=2;w=3600'
        passed = ask(lb, "/")
        assert statuses([passed, ask(lb, "/free")]) == [200, 200]
        assert field(passed, "RateLimit") is not None


@pytest.mark.parametrize(
    ("condition", "move"), [("path /a", "X-Target: /a"), ("host shut", "X-Host: shut")]
)
def test_a_filter_cannot_lead_around_a_limit_with_conditions(
    tmp_path: Path, condition: str, move: str
) -> None:
    (tmp_path / "moves.py").write_text(FILTER)
    keys = f"limits = one if {condition}\nfilters = {tmp_path}/moves.py:Moves"
    with LB.from_config(web("[limit one]\nrate = 2/1h", keys)) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb, "/", move) for _ in range(3)]) == [200, 200, 429]
        assert statuses([ask(lb)]) == [200]


def test_limits_of_a_route_and_filters_of_a_tcp_frontend(tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text(FILTER)
    text = (
        "[limit one]\nrate = 2/1h\n[frontend db]\nmode = tcp\nlisten = tcp:5432\n"
        f"filters = {tmp_path}/moves.py:Looks\n"
        "routes =\n    client 192.0.2.0/24 -> app limits=one\n    default -> app\n" + BACKEND
    )
    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        clients = [lb.connect("db", client="192.0.2.7") for _ in range(3)]
        clients.append(lb.connect("db", client="198.51.100.7"))
        assert [one.finished for one in clients] == [False, False, True, False]


def test_places_of_both_looks_are_given_back(tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text(FILTER)
    text = web(
        "[limit one]\nconcurrent = 1\n[limit two]\nconcurrent = 1",
        f"limits = two\nfilters = {tmp_path}/moves.py:Moves",
        "path /a -> app limits=one\n    default -> app",
    )
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert statuses([ask(lb, "/", "X-Target: /a") for _ in range(3)]) == [200] * 3
        assert statuses([ask(lb), ask(lb, "/a")]) == [200] * 2
