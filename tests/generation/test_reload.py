"""Reload in memory: what a change keeps, what it ends, and what a mistake does (nothing)."""

from __future__ import annotations

import gc
from pathlib import Path
from textwrap import dedent
from typing import Any
from weakref import WeakSet

import pytest

from lbproxy.balance.server import AdminState
from lbproxy.errors import Kind
from lbproxy.generation.reload import ReloadReport
from lbproxy.proxy.backend import Backend
from lbproxy.proxy.weakhandle import WeakHandle
from lbproxy.testing import LB, Client
from lbproxy.testing.wire import render
from tests.support import tls

A, B, C = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"
TEXT = f"""
[lbproxy]
timeout_drain = 10s
[frontend web]
listen = tcp:8080
routes =
    path /shop/* -> shop
backend = app
[backend app]
servers =
    a {A}
    b {B}
[backend shop]
servers = s {C}
[frontend raw]
mode = tcp
listen = tcp:9000
backend = db
[backend db]
servers =
    x 10.0.1.1:5432
    y 10.0.1.2:5432
"""


class Site:
    """``TEXT`` at work, before origins that say who they are."""

    def __init__(self, text: str = TEXT, **options: Any) -> None:
        self.text = text
        self.lb = LB.from_config(text, **options)
        self.service = self.lb.service
        for name, address in zip("abs", (A, B, C), strict=True):
            self.lb.origin(name, address)
        for name, address in (("x", "10.0.1.1:5432"), ("y", "10.0.1.2:5432")):
            self.lb.tcp_origin(name, address, "echo")

    def change(self, *pairs: tuple[str, str], **options: Any) -> ReloadReport:
        """Reload the present text with parts replaced."""
        text = self.text
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        report = self.service.reload(text, **options)
        if report.ok and not options:
            self.text = text
        self.lb.reactor.pump()
        return report

    def server(self, backend: str, name: str) -> Any:
        return self.lb.server(backend, name)

    def get(self, path: str = "/", via: Client | None = None) -> str:
        """Which origin answers."""
        if via is None:
            return self.lb.get(f"http://h:8080{path}").server
        request = render(f"GET {path} HTTP/1.1", [("Host", "h")], b"")
        return via.request("GET", request).wait(5).server

    def tcp(self) -> Client:
        client = self.lb.connect("raw")
        assert self.alive(client)
        return client

    @staticmethod
    def alive(client: Client) -> bool:
        client.take()
        if client.closed:
            return False
        client.send(b"ping")
        return client.take() == b"ping"


@pytest.fixture
def site() -> Any:
    site = Site()
    yield site
    site.lb.close()


@pytest.mark.parametrize(
    "text", ["\n", "[lbproxy]\n", "[backend b]\nmode = tcp\nservers = a 10.0.0.1:80\n"]
)
def test_a_configuration_that_serves_nothing_is_refused(text: str, tmp_path: Path) -> None:
    site = Site()
    for source in (text, tmp_path / "lb.ini"):
        (tmp_path / "lb.ini").write_text(text)
        report = site.service.reload(source)
        assert "serves nothing: there is no [frontend NAME]" in report.errors[0]
    assert site.get("/") in "ab" and site.service.listeners[0].bound is not None


def test_nothing_changes(site: Site) -> None:
    before = site.service.generation
    kept, session = site.lb.connect("web"), site.tcp()
    assert site.get("/", kept) == "a"
    report = site.change()
    after = site.service.generation
    assert report.ok and not report.changes
    assert report.summary() == "nothing changes, kept 2 of 2 sessions"
    assert after.frontends == before.frontends
    assert after.backends == before.backends
    assert after.listeners == before.listeners
    assert list(after.services()) == list(before.services())
    assert site.get("/", kept) == "b"
    assert site.alive(session)


def test_an_idle_connection_follows_the_new_routes(site: Site) -> None:
    client = site.lb.connect("web")
    assert site.get("/shop/1", client) == "s"
    report = site.change(("/shop/*", "/store/*"))
    assert report.ok and "+ path /store/* -> shop" in report.text()
    assert site.get("/shop/1", client) in "ab"
    assert site.get("/store/1", client) == "s"
    assert not client.closed


def test_a_request_ends_as_it_began(site: Site) -> None:
    slow = site.lb.tcp_origin("slow", "10.0.0.9:8000")
    site.change((f"s {C}", "s 10.0.0.9:8000"))
    pending = site.lb.begin("GET", "http://h:8080/shop/x")
    report = site.change(("path /shop/* -> shop", "path /none -> shop"))
    assert report.sessions == report.kept == 1
    slow.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Origin: slow\r\n\r\nhi")
    assert pending.wait(1).server == "slow"


def test_limits_follow_with_the_second_request(site: Site) -> None:
    client = site.lb.connect("web")
    site.get("/", client)
    site.change(("backend = app\n", "backend = app\nmax_url = 64\n"))
    assert site.get("/" + "x" * 100, client) in "ab"
    request = render("GET /" + "x" * 100 + " HTTP/1.1", [("Host", "h")], b"")
    assert client.request("GET", request).wait(5).status == 414


def test_who_is_not_allowed_any_more_is_told(site: Site) -> None:
    client = site.lb.connect("web", client="198.51.100.7")
    site.get("/", client)
    site.change(("backend = app\n", "backend = app\ndeny = 198.51.100.0/24\n"))
    request = render("GET / HTTP/1.1", [("Host", "h")], b"")
    response = client.request("GET", request).wait(5)
    assert response.status == 403
    assert client.finished
    assert site.service.frontend("web").counters.closes[Kind.DENIED] == 1


def test_counts_go_on(site: Site) -> None:
    client = site.lb.connect("web")
    site.get("/", client)
    site.change(("backend = app\n", "backend = app\nmaxconn = 1\n"))
    frontend = site.service.frontend("web")
    assert frontend.counters.requests == 1
    assert (frontend.limits.active, frontend.limits.maxconn) == (1, 1)
    second = site.lb.connect("web")
    assert second.established and client.finished, "the idle connection makes room"
    client.close()
    second.close()
    assert frontend.limits.active == 0
    assert site.get() in "ab"


def test_servers_keep_what_they_are(site: Site) -> None:
    session = site.tcp()
    x, y = site.server("db", "x"), site.server("db", "y")
    site.service.drain("db", "y")
    site.service.set_weight("db", "x", 7)
    report = site.change(
        ("x 10.0.1.1:5432\n", "x 10.0.1.1:5432 maxconn=5\n"),
        ("y 10.0.1.2:5432\n", "y 10.0.1.2:5432\n    z 10.0.1.3:5432\n"),
    )
    assert report.kept == report.sessions == 1
    servers = site.lb.backend("db").group.servers
    assert list(servers) == ["x", "y", "z"]
    assert servers["x"] is x and servers["y"] is y
    assert (x.weight, x.maxconn, x.active, x.counters.picked) == (7, 5, 1, 1)
    assert y.admin is AdminState.DRAIN
    assert site.alive(session)
    site.change(("x 10.0.1.1:5432 maxconn=5", "x 10.0.1.1:5432 weight=2"))
    assert (x.weight, x.maxconn) == (2, 0)


def test_what_operators_did_to_servers_stays(site: Site) -> None:
    site.service.add_server("app", "new 10.0.0.4:8000")
    site.service.remove_server("app", "b")
    site.change(("a 10.0.0.1:8000", "a 10.0.0.1:8000 weight=3"))
    assert list(site.lb.backend("app").group.servers) == ["a", "new"]
    site.change((f"b {B}", f"b {B} weight=2\n    new 10.0.0.4:8000 weight=9"))
    assert list(site.lb.backend("app").group.servers) == ["a", "new"]
    assert site.server("app", "new").weight == 9
    site.change(("new 10.0.0.4:8000 weight=9", "new 10.0.0.5:8000"))
    assert str(site.server("app", "new").addresses[0]) == "10.0.0.5:8000"


def test_a_removed_server_drains(site: Site) -> None:
    sessions = [site.tcp(), site.tcp()]
    x = site.server("db", "x")
    report = site.change(("    x 10.0.1.1:5432\n", ""))
    assert (report.sessions, report.kept) == (2, 1)
    assert (
        report.summary()
        == "made 1 change, kept 1 of 2 sessions; 1 belongs to removed server db/x, "
        "closing in 10 s"
    )
    assert all(map(site.alive, sessions))
    site.lb.advance(9)
    assert all(map(site.alive, sessions))
    site.lb.advance(2)
    assert [site.alive(one) for one in sessions] == [False, True]
    assert not x.sessions and x.active == 0


def test_another_address_is_another_server(site: Site) -> None:
    session = site.tcp()
    x = site.server("db", "x")
    site.lb.tcp_origin("x2", "10.0.1.9:5432", "echo")
    site.change(("x 10.0.1.1:5432", "x 10.0.1.9:5432"))
    assert site.server("db", "x") is not x
    assert site.alive(session)
    session.close()
    assert x.active == 0
    site.lb.advance(1)
    assert not site.service._reloader.leaving, "all of it has ended"


def test_a_removed_backend_and_frontend_drain(site: Site) -> None:
    session, other = site.tcp(), site.lb.connect("web")
    site.get("/", other)
    start = site.text.index("[frontend raw]")
    report = site.change((site.text[start:], ""))
    assert report.leaving and {one.what for one in report.leaving} == {"frontend raw", "backend db"}
    assert (report.sessions, report.kept) == (2, 1)
    assert not site.lb.reactor.ports.get(("0.0.0.0", 9000))
    assert site.alive(session) and site.get("/", other)
    site.lb.advance(11)
    assert not site.alive(session)
    assert site.get("/", other)


def test_idle_clients_of_a_removed_frontend_go_at_once(site: Site) -> None:
    client = site.lb.connect("web")
    site.get("/", client)
    text = site.text.replace("[frontend web]", "[frontend www]").replace("tcp:8080", "tcp:8081")
    assert site.service.reload(text).ok
    site.lb.reactor.pump()
    assert client.finished
    assert site.lb.get("http://h:8081/").server in "ab"


def test_a_socket_moves_to_another_frontend(site: Site) -> None:
    port = site.service.listeners[0].bound
    client = site.lb.connect("web")
    site.get("/", client)
    report = site.change(("[frontend web]", "[frontend www]"))
    assert report.ok
    assert site.service.listeners[0].bound is port
    assert client.finished
    assert site.get() in "ab"
    assert site.service.frontend("www").counters.requests == 1


def test_another_mode_keeps_the_socket(site: Site) -> None:
    port = site.service.listeners[1].bound
    session = site.tcp()
    report = site.service.reload(
        "[frontend raw]\nmode = http\nlisten = tcp:9000\nbackend = app\n"
        f"[backend app]\nservers = a {A}\n"
    )
    assert report.ok
    assert [one.bound for one in site.service.listeners] == [port]
    assert site.alive(session)
    assert site.lb.get("http://h:9000/").server == "a"


def test_listeners_come_and_go(site: Site) -> None:
    site.change(("listen = tcp:8080", "listen =\n    tcp:8081\n    tcp:8080"))
    assert site.lb.get("http://h:8081/").status == 200
    assert site.get() in "ab"
    client = site.lb.connect("127.0.0.1:8081")
    site.change(("    tcp:8081\n", ""))
    assert not site.lb.connect("127.0.0.1:8081").established
    assert site.get("/", client) in "ab", "open connections stay"


def test_an_address_that_cannot_be_bound_changes_nothing(site: Site) -> None:
    from twisted.internet.protocol import Factory, Protocol

    site.lb.reactor.listenTCP(7777, Factory.forProtocol(Protocol))
    generation = site.service.generation
    report = site.change(
        ("listen = tcp:8080", "listen =\n    tcp:6666\n    tcp:7777"), ("/shop/*", "/x")
    )
    assert not report.ok
    assert "cannot listen on" in report.errors[0] and "7777" in report.errors[0]
    assert "nothing was changed" in report.text()
    assert site.service.generation is generation
    assert not site.lb.connect("127.0.0.1:6666").established
    assert site.get("/shop/x") == "s"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("listen = tcp:8080", "listen = tcp:808080", "8080"),
        ("backend = app", "backend = nope", "nope"),
        ("[backend shop]", "[backend shop]\ncolour = red", "colour"),
        (
            "[backend shop]",
            "[backend shop]\nbalance = tests.generation.test_reload:Broken",
            "no luck",
        ),
        (
            "backend = app",
            "backend = app\nfilters = tests.generation.test_reload:BrokenFilter",
            "no",
        ),
        (
            "[backend shop]",
            "[backend shop]\ncheck = tests.generation.test_reload:BrokenProbe",
            "no",
        ),
        (f"s {C}", f"s {C} tls ca=/nowhere.pem", "nowhere"),
    ],
)
def test_a_mistake_changes_nothing(site: Site, old: str, new: str, words: str) -> None:
    generation = site.service.generation
    client = site.lb.connect("web")
    site.get("/", client)
    report = site.change((old, new), ("path /shop/*", "path /other/*"))
    assert not report.ok
    assert any(words in error for error in report.errors), report.errors
    assert all("<text>:" in error for error in report.errors)
    assert site.service.generation is generation
    assert site.get("/shop/1", client) == "s"
    assert report.as_json()["ok"] is False
    events = [
        event for event in site.service.events.since() if event.kind.value == "reload_refused"
    ]
    assert [event.text for event in events] == [report.summary()]
    assert report.summary().startswith("reload failed: <text>:")
    assert report.summary().endswith("; the running configuration is unchanged")


def test_dry_run(site: Site) -> None:
    session = site.tcp()
    generation = site.service.generation
    report = site.change(("x 10.0.1.1:5432\n", "z 10.0.1.1:5432\n"), dry_run=True)
    assert report.ok and report.dry_run
    assert "would keep 0 of 1 sessions; 1 belongs to removed server db/x" in report.summary()
    assert site.service.generation is generation
    assert list(site.lb.backend("db").group.servers) == ["x", "y"]
    assert site.alive(session)
    wrong = site.change(("x 10.0.1.1:5432\n", "x nonsense\n"), dry_run=True)
    assert not wrong.ok and wrong.dry_run
    assert wrong.summary().startswith("reload would fail: <text>:")


class _Never:
    from lbproxy.http.filter import NoOptions as Options

    name = "never"
    needs: frozenset[Any] = frozenset()
    modes = frozenset({"http"})

    def __init__(self, options: Any, env: Any) -> None:
        raise RuntimeError("no luck")


class Broken(_Never):
    def pick(self, context: Any, avoid: Any) -> None: ...


class BrokenFilter(_Never):
    pass


class BrokenProbe(_Never):
    def check(self, target: Any) -> None: ...


def test_the_balancer_changes_and_leases_are_given_back(site: Site) -> None:
    group = site.lb.backend("db").group
    sessions = [site.tcp() for _ in range(4)]
    site.change(("[backend db]", "[backend db]\nbalance = leastconn"))
    assert site.lb.backend("db").group is group
    assert type(group.balancer).__name__ == "LeastConn"
    sessions[0].close()
    sessions[2].close()
    assert site.server("db", "x").active == 0
    two = [site.tcp(), site.tcp()]
    assert site.server("db", "x").active == 2, "it knew what was there"
    for client in [*sessions, *two]:
        client.close()
    assert site.server("db", "x").active == site.server("db", "y").active == 0


def test_checks_go_on_or_begin_anew() -> None:
    site = Site(TEXT.replace("[backend app]", "[backend app]\ncheck = http GET / every=1s fall=1"))
    site.lb.advance(3)
    site.lb.origins["b"].stop()
    site.lb.advance(3)
    checker = site.service.generation.checkers["app"]
    check = checker.checks[site.server("app", "a")]
    assert not site.server("app", "b").healthy
    site.change((f"a {A}", f"a {A} weight=2"), ("path /shop/*", "path /x"))
    assert site.service.generation.checkers["app"] is checker
    assert checker.checks[site.server("app", "a")] is check
    site.change(("every=1s", "every=2s"))
    assert site.service.generation.checkers["app"] is not checker
    assert not checker.running
    assert not site.server("app", "b").healthy, "the verdict stays until there is another"
    site.lb.origins["b"].start()
    site.lb.advance(5)
    assert site.server("app", "b").healthy
    site.lb.origins["b"].stop()
    site.lb.advance(5)
    assert not site.server("app", "b").healthy
    site.change(("check = http GET / every=2s fall=1", ""))
    assert site.server("app", "b").healthy, "nobody checks it any more"
    site.lb.close()


def test_a_server_that_asked_to_leave_is_back_when_nobody_checks_it(site: Site) -> None:
    """A check may say that a server wants no new work; without the check it takes work again."""
    site.change(("[backend app]", "[backend app]\ncheck = http GET / every=1s"))
    site.lb.advance(3)
    a, b = site.server("app", "a"), site.server("app", "b")
    group = site.service.backends["app"].group
    group.set_leaving(a, True)
    group.set_leaving(b, True)
    site.change((f"a {A}", f"a {A} no_check"))
    assert (a.state.value, b.state.value) == ("up", "drain")
    site.change(("check = http GET / every=1s", ""))
    assert b.state.value == "up"


def test_queue_and_pools_stay(site: Site) -> None:
    site.change(("[backend shop]", "[backend shop]\nqueue = 5"), (f"s {C}", f"s {C} maxconn=1"))
    slow = site.lb.origins["s"]
    slow.hang()
    first, second = (site.lb.begin("GET", "http://h:8080/shop/1") for _ in range(2))
    backend = site.lb.backend("shop")
    assert len(backend.queue) == 1
    site.change(("queue = 5", "queue = 9\ntimeout_queue = 9s"))
    assert site.lb.backend("shop") is backend
    assert (len(backend.queue), backend.queue.limit, backend.queue.timeout) == (1, 9, 9.0)
    site.change(("maxconn=1", "maxconn=2"))
    assert len(backend.queue) == 0, "there is room now"
    first.client.abort()
    second.client.abort()
    slow.start()
    site.get("/shop/1")
    pool = site.server("shop", "s").connector.pool
    assert len(pool) == 1
    site.change(("timeout_queue = 9s", "pool_size = 7"))
    assert site.server("shop", "s").connector.pool is pool
    assert (len(pool), pool.limit) == (1, 7)


def test_filters_whose_line_stays_keep_what_they_know(site: Site) -> None:
    line = "filters =\n    tests.generation.test_reload:Counting\n"
    site.change(("backend = app\n", f"backend = app\n{line}"))
    site.get()
    site.change(("path /shop/*", "path /x"))
    site.get()
    (counting,) = site.service.frontend("web").filters
    assert counting.seen == 2
    site.change((line, f"{line}    set-header response X-Mine yes\n"))
    response = site.lb.get("http://h:8080/")
    assert response.header("X-Mine") == "yes"
    assert site.service.frontend("web").filters[0] is counting
    assert counting.seen == 3


class Counting:
    """Counts requests."""

    from lbproxy.http.filter import NoOptions as Options

    name = "counting"
    modes = frozenset({"http"})
    fail_open = False

    def __init__(self, options: Any, env: Any) -> None:
        self.seen = 0

    def request(self, traffic: Any) -> None:
        self.seen += 1


def test_a_backend_s_filters_reach_frontends_that_did_not_change(site: Site) -> None:
    client = site.lb.connect("web")
    site.get("/", client)
    site.change(("[backend app]", "[backend app]\nfilters = set-header response X-App yes"))
    request = render("GET / HTTP/1.1", [("Host", "h")], b"")
    assert client.request("GET", request).wait(5).header("X-App") == "yes"


def test_plugin_files_are_loaded_anew(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    code = dedent("""
        from lbproxy.http.filter import Filter
        class Mine(Filter):
            name = "mine"
            def response(self, exchange):
                exchange.response.headers.append((b"X-Mine", b"one"))
    """)
    plugin.write_text(code)
    site = Site(TEXT.replace("backend = app\n", f"backend = app\nfilters = {plugin}:Mine\n"))
    client = site.lb.connect("web")
    request = render("GET / HTTP/1.1", [("Host", "h")], b"")
    assert client.request("GET", request).wait(5).header("X-Mine") == "one"
    plugin.write_text(code.replace("one", "three"))
    assert "its code changed" in site.change().text()
    assert client.request("GET", request).wait(5).header("X-Mine") == "three"
    plugin.write_text("def oops(")
    assert "SyntaxError" in site.change().errors[0]
    assert client.request("GET", request).wait(5).header("X-Mine") == "three"
    site.lb.close()


def test_new_certificates_for_new_connections(tmp_path: Path) -> None:
    first = tls.issue("one.example")
    path = tls.write(first, tmp_path)
    site = Site(TEXT.replace("listen = tcp:8080", f"listen = tls:8443 certificates={path}"))
    factory = site.service.listeners[0].factory
    old = site.lb.connect("web", tls="one.example")
    site.get("/", old)
    port = site.service.listeners[0].bound
    site.change(("path /shop/*", "path /x"))
    assert site.service.listeners[0].factory is factory, "same certificates, same tickets"
    second = tls.issue("one.example", "two.example")
    Path(path).write_bytes(Path(tls.write(second, tmp_path)).read_bytes())
    assert site.change().ok
    assert site.service.listeners[0].bound is port
    (pair,) = site.service.listeners[0].factory.key_pairs
    assert pair.fingerprint != factory.key_pairs[0].fingerprint
    assert site.get("/", old) in "ab"
    assert site.lb.get("https://one.example:8443/").status == 200
    Path(path).write_text("junk")
    assert not site.change().ok
    assert site.lb.get("https://one.example:8443/").status == 200
    site.lb.close()


def test_logs_follow(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    site = Site(TEXT.replace("[lbproxy]", f"[lbproxy]\naccess_log = {one}"), sinks=None)
    client, session = site.lb.connect("web"), site.tcp()
    site.get("/one", client)
    site.change((str(one), f"{two} json"))
    site.get("/two", client)
    session.close()
    site.lb.advance(1)
    assert "/one" in one.read_text() and "/two" not in one.read_text()
    lines = two.read_text().splitlines()
    assert len(lines) == 2, "a session that began before ends in the new log"
    assert list(site.service.generation.sinks) == [str(two)]
    site.lb.close()


def test_what_is_listened_on_by_an_embedder_follows_too(site: Site) -> None:
    site.lb.reactor.listenTCP(7070, site.service.factory("web"))
    assert site.lb.connect("127.0.0.1:7070").established
    client = site.lb.connect("127.0.0.1:7070")
    assert site.get("/shop/x", client) == "s"
    site.change(("path /shop/*", "path /x"))
    assert site.get("/shop/x", client) in "ab"
    assert site.get("/shop/x", site.lb.connect("127.0.0.1:7070")) in "ab"


def test_before_the_start(site: Site) -> None:
    from lbproxy.service import LoadBalancer
    from lbproxy.testing import MemoryReactor

    reactor = MemoryReactor()
    service = LoadBalancer.from_config(TEXT, reactor=reactor)
    assert service.reload(TEXT.replace("tcp:8080", "tcp:8088")).ok
    assert not reactor.ports
    service.startService()
    assert sorted(port for _, port in reactor.ports) == [8088, 9000]
    service.stopService()
    reactor.advance(1)


def test_a_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "lb.ini"
    path.write_text(TEXT)
    from lbproxy.service import LoadBalancer
    from lbproxy.testing import MemoryReactor

    reactor = MemoryReactor()
    service = LoadBalancer.from_config(path, reactor=reactor)
    service.startService()
    path.write_text(TEXT.replace("timeout_drain = 10s", "timeout_drain = 1s"))
    report = service.reload()
    assert report.ok and service.config.settings.timeout_drain == 1.0
    path.unlink()
    assert "cannot be read" in service.reload().errors[0]
    assert service.reload(TEXT).ok
    assert "no file to read again" in service.reload().errors[0]
    service.stopService()
    reactor.advance(1)


def test_stopping_waits_for_what_is_leaving(site: Site) -> None:
    session = site.tcp()
    start = site.text.index("[frontend raw]")
    site.change((site.text[start:], ""), ("timeout_drain = 10s", "timeout_drain = 1h"))
    done: list[Any] = []
    site.service.stopService().addBoth(done.append)
    site.lb.advance(5)
    assert site.alive(session) and not done
    site.lb.advance(6)
    assert not site.alive(session) and done
    assert not site.service._reloader.leaving


def test_a_hundred_reloads_leave_nothing_behind(site: Site) -> None:
    alive: WeakSet[WeakHandle] = WeakSet()  # each goes with its frontend
    client, session = site.lb.connect("web"), site.tcp()
    services = len(site.service.services)
    for i in range(100):
        alive.add(site.service.frontend("web")._handle)
        extra = f"    e{i} 10.0.2.{i + 1}:80\n" if i % 3 else ""
        text = TEXT.replace("path /shop/*", f"path /shop{i}/*").replace(
            f"    b {B}\n", f"    b {B}\n{extra}"
        )
        if i % 2:
            text = text.replace("[backend app]", "[backend app]\ncheck = tcp every=5s")
            text += f"\n[frontend f{i}]\nlisten = tcp:7000\nbackend = app\n"
        report = site.service.reload(text)
        assert report.ok and report.kept == report.sessions
        assert site.get(f"/shop{i}/x", client) == "s"
        assert site.alive(session)
        site.lb.advance(0.3)
    assert site.service.reload(TEXT).ok
    site.lb.advance(1)
    assert site.get("/shop/x", client) == "s"
    assert site.alive(session)
    gc.collect()
    assert len(alive) <= 2, "only the first one may live, for the session it serves"
    assert len(site.service.services) == services
    assert sorted(site.lb.reactor.ports)[:2] == [("0.0.0.0", 8080), ("0.0.0.0", 9000)]
    assert not site.service._reloader.leaving
    site.lb.advance(30)
    assert len(site.lb.reactor.getDelayedCalls()) < 10


def test_a_bug_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("lbproxy.generation.reload.compile_config", broken)
    generation = site.service.generation
    report = site.change(("/shop/*", "/x"))
    assert report.errors == ("ZeroDivisionError: oops",)
    assert site.service.generation is generation
    assert site.get("/shop/1") == "s"


def _backends_alive() -> int:
    gc.collect()  # compiled classes have no weak references
    return sum(type(one) is Backend for one in gc.get_objects())


def test_backends_that_get_another_name_each_time_leave_nothing_behind(site: Site) -> None:
    before = _backends_alive()
    for i in range(6):
        text = (
            f"[frontend web]\nlisten = tcp:8080\nbackend = b{i}\n[backend b{i}]\nservers = a {A}\n"
        )
        assert site.service.reload(text).ok
        assert site.get() == "a"
        site.lb.advance(30)
    assert _backends_alive() <= before + 2
