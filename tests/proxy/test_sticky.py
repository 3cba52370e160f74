"""Sticky sessions on the wire: HTTP with cookies and a table, TCP by address and by server name."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.testing import LB, HTTPOrigin, Response
from tests.proxy.bench import Make, origins

SERVERS = ("a 10.0.0.1:8000", "b 10.0.0.2:8000", "c 10.0.0.3:8000")


class Web:
    """``app`` with three servers that say who they are."""

    def __init__(self, sticky: str, *more: str, top: str = "") -> None:
        self.lb = LB.from_config(self.text(sticky, *more, top=top))
        self.answer: Any = None
        self.origins: dict[str, HTTPOrigin] = {
            name: self.lb.origin(name, address, lambda request: self.answer)
            for name, address in (line.split() for line in SERVERS)
        }
        self.jar: dict[str, str] = {}

    @staticmethod
    def text(sticky: str, *more: str, top: str = "") -> str:
        lines = "\n".join(more)
        servers = "\n".join(f"    {line}" for line in SERVERS)
        return (
            f"{top}\n[frontend web]\nlisten = tcp:8080\nbackend = app\n"
            f"[backend app]\nsticky = {sticky}\n{lines}\nservers =\n{servers}\n"
        )

    def get(self, **headers: str) -> Response:
        """As a browser that keeps cookies."""
        if self.jar and "Cookie" not in headers:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.jar.items())
        response = self.lb.get("http://example.com/", headers=headers)
        for line in response.header_values("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.jar[name] = value
        return response

    @property
    def sticky(self) -> Any:
        return self.lb.backend("app").sticky


@pytest.fixture
def web() -> Any:
    made: list[Web] = []

    def make(*args: str, **options: Any) -> Web:
        made.append(Web(*args, **options))
        made[-1].answer = b"ok"
        return made[-1]

    yield make
    for one in made:
        one.lb.close()


def test_a_browser_stays_and_the_server_never_sees_the_cookie(web: Any) -> None:
    one = web("cookie LB")
    first = one.get()
    assert first.header("set-cookie").startswith("LB=") and len(one.jar["LB"]) == 22
    for _ in range(5):
        again = one.get()
        assert again.server == first.server and again.header_values("set-cookie") == []
    for origin in one.origins.values():
        assert all("LB=" not in request.header("cookie") for request in origin.requests)
    one.jar["user"] = "ann"
    one.get()
    assert one.origins[first.server].requests[-1].header("cookie") == "user=ann"
    one.jar = {}
    assert one.get().server != first.server, "others are balanced"


def test_a_server_that_fails_is_left_and_the_cookie_set_anew(web: Any) -> None:
    one = web("cookie LB")
    first = one.get()
    one.origins[first.server].stop()
    second = one.get()
    assert second.status == 200 and second.server != first.server
    assert second.header("set-cookie")
    one.origins[first.server].start()
    assert one.get().server == second.server


def test_drain_honours_and_maint_breaks(web: Any) -> None:
    one = web("cookie LB")
    first = one.get()
    one.lb.service.drain("app", first.server)
    assert [one.get().server for _ in range(3)] == [first.server] * 3
    cookie, one.jar = one.jar, {}
    assert first.server not in {one.get(Cookie="x=1").server for _ in range(4)}
    one.jar = cookie
    one.lb.service.maint("app", first.server)
    second = one.get()
    assert second.server != first.server and second.header("set-cookie")


def test_the_last_server_drained_still_serves_who_belongs_there(web: Any) -> None:
    one = web("cookie LB")
    first = one.get()
    for name in "abc":
        one.lb.service.drain("app", name)
    assert one.get().server == first.server
    assert one.get(Cookie="LB=unknown").status == 503


def test_a_secret_makes_cookies_outlive_a_restart(web: Any) -> None:
    secret = "[lbproxy]\nsecret = correct horse battery\n"
    one = web("cookie LB", top=secret)
    first = one.get()
    other = web("cookie LB", "balance = first", top=secret)
    other.jar = one.jar
    assert other.get().server == first.server
    stranger = web("cookie LB", "balance = first")
    stranger.jar = dict(one.jar)
    assert stranger.get().header("set-cookie") and stranger.jar != one.jar


def test_servers_added_and_removed_at_run_time(web: Any) -> None:
    one = web("cookie LB")
    one.lb.origin("d", "10.0.0.4:8000")
    one.lb.service.add_server("app", "d 10.0.0.4:8000")
    for name in "abc":
        one.lb.service.maint("app", name)
    assert one.get().server == "d"
    for name in "abc":
        one.lb.service.ready("app", name)
    assert [one.get().server for _ in range(3)] == ["d"] * 3
    one.lb.service.remove_server("app", "d")
    moved = one.get()
    assert moved.server in "abc" and moved.header("set-cookie")


def test_a_full_server_lends_its_client(web: Any) -> None:
    one = web("cookie LB")
    first = one.get()
    one.lb.backend("app").group.set_maxconn(first.server, 1)
    one.answer = None  # does not answer
    pending = one.lb.begin("GET", "http://example.com/", headers={"Cookie": f"LB={one.jar['LB']}"})
    one.answer = b"ok"
    lent = one.get()
    assert lent.server != first.server and lent.header_values("set-cookie") == []
    pending.client.abort()
    assert one.get().server == first.server
    assert one.sticky.counters.lent == 1


def test_prefix_is_invisible_to_the_application(web: Any) -> None:
    from lbproxy.testing.origin import Answer

    one = web("prefix SESSION")
    one.answer = Answer(headers={"Set-Cookie": "SESSION=s3cret; Path=/"})
    first = one.get()
    assert one.jar["SESSION"].endswith("~s3cret")
    one.answer = b"ok"
    assert {one.get().server for _ in range(4)} == {first.server}
    assert one.origins[first.server].requests[-1].header("cookie") == "SESSION=s3cret"


def test_a_learned_session(web: Any) -> None:
    from lbproxy.testing.origin import Answer

    one = web("learn SESSION expire=60s")
    one.answer = Answer(headers={"Set-Cookie": "SESSION=s3cret; Path=/"})
    first = one.get()
    one.answer = b"ok"
    assert {one.get().server for _ in range(4)} == {first.server}
    assert one.lb.service.drain_status("app", first.server).stickies == 1
    (entry,) = one.lb.service.sticky_entries("app")
    assert entry.server == first.server
    one.lb.advance(61)
    assert one.lb.service.sticky_entries("app") == []


def test_a_user_header(web: Any) -> None:
    one = web("header X-User", "balance = random")
    at = {user: one.get(**{"X-User": user}).server for user in ("ann", "bob", "eve", "kim")}
    for user, server in at.items():
        assert {one.get(**{"X-User": user}).server for _ in range(3)} == {server}
    assert one.lb.service.clear_sticky("app") == 4
    with pytest.raises(KeyError):
        one.lb.service.clear_sticky("app", "nobody")


def test_a_failed_sticky_server_is_redispatched_at_most_retries_times(web: Any) -> None:
    one = web("cookie LB", "retries = 0")
    first = one.get()
    one.origins[first.server].stop()
    assert one.get().status == 502, "no retries are allowed"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("cookie LB",), ("cookie LB", "retries = 1")),
        (("cookie LB",), ("cookie LB path=/x",)),
        (("header X-User",), ("header x-user size=10",)),
        (("header X-User",), ("header X-User", "balance = first")),
    ],
)
def test_a_reload_keeps_clients_where_they_are(web: Any, before: Any, after: Any) -> None:
    one = web(*before)
    one.get(**{"X-User": "nobody"})  # so that "a" is not the answer to everything
    one.jar = {}
    first = one.get(**{"X-User": "ann"})
    assert one.lb.service.reload(Web.text(*after)).ok
    again = [one.get(**{"X-User": "ann"}) for _ in range(4)]
    assert {response.server for response in again} == {first.server}
    assert not any(response.header_values("set-cookie") for response in again)


def test_a_reload_can_begin_and_end_stickiness(web: Any) -> None:
    one = web("cookie LB")
    one.get()
    assert one.lb.service.reload(Web.text("cookie LB").replace("sticky = cookie LB", "")).ok
    assert len({one.get().server for _ in range(6)}) == 3
    assert one.sticky is None
    assert one.lb.service.reload(Web.text("cookie LB2")).ok
    first = one.get()
    assert first.header("set-cookie").startswith("LB2=")
    assert {one.get().server for _ in range(4)} == {first.server}


def test_another_secret_voids_cookies(web: Any) -> None:
    one = web("cookie LB")
    one.get()
    text = Web.text("cookie LB", top="[lbproxy]\nsecret = correct horse battery\n")
    assert one.lb.service.reload(text).ok
    assert one.get().header("set-cookie")


def test_tcp_by_address(make: Make) -> None:
    bench = make(backend="sticky = source prefix=24")
    origins(bench)

    def server_of(ip: str) -> str:
        client = bench.lb.connect("t", client=ip)
        client.send(b"x")
        client.abort()
        return str(bench.last.server_name)

    first = server_of("198.51.100.1")
    assert {server_of(f"198.51.100.{n}") for n in range(2, 8)} == {first}
    bench.lb.service.drain("raw", first)
    assert server_of("198.51.100.9") == first
    assert server_of("203.0.113.1") != first
    bench.lb.service.maint("raw", first)
    assert server_of("198.51.100.9") != first
    status = bench.lb.service.drain_status("raw", first)
    assert status.stickies == 0


def test_tcp_by_server_name(make: Make) -> None:
    from tests.net.test_clienthello import real_hello

    bench = make(backend="sticky = sni")
    origins(bench)
    assert bench.frontend.looks_at_hello

    def server_of(name: str) -> str:
        client = bench.lb.connect("t")
        client.send(real_hello(name))
        client.abort()
        return str(bench.last.server_name)

    first = server_of("one.example.com")
    assert server_of("two.example.com") != first
    assert {server_of("one.example.com") for _ in range(4)} == {first}
