"""Mirroring: what is copied, that the original never notices, and what comparing finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.proxy.features.mirror import Mirror
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer

A, N = "10.0.0.1:8000", "10.0.1.1:8000"


class Site:
    """``app`` mirrors to ``next``; ``answer`` and ``other`` are what their servers say."""

    def __init__(self, options: str = "", app: str = "", more: str = "", web: str = "") -> None:
        self.lb = LB.from_config(
            f"[frontend web]\nlisten = tcp:8080\nbackend = app\n{web}\n"
            f"[backend app]\nservers = a {A}\nmirror = next {options}\n{app}\n"
            f"[backend next]\nservers = n {N}\n{more}\n"
        )
        self.answer: Any = b"hello"
        self.other: Any = b"hello"
        self.a = self.lb.origin("a", A, lambda request: self.answer)
        self.n = self.lb.origin("n", N, lambda request: self.other)

    @property
    def mirror(self) -> Any:
        return Mirror.of(self.lb.backend("app"))

    @property
    def counters(self) -> dict[str, int]:
        """Those that are not 0."""
        shown = self.mirror.snapshot()
        return {name: value for name, value in shown.items() if value and name != "backend"}

    def get(self, path: str = "/x", **more: Any) -> Any:
        return self.lb.get(f"http://example.com{path}", **more)

    def check(self) -> None:
        """Nothing is left."""
        self.lb.advance(60)
        assert not self.mirror.running
        for backend in self.lb.service.backends.values():
            assert len(backend.queue) == 0
            for server in backend.group.servers.values():
                assert (server.active, server.sessions) == (0, set())
        self.lb.close()


@pytest.fixture
def site() -> Any:
    made: list[Site] = []

    def make(*args: str, **options: str) -> Site:
        made.append(Site(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.check()


def test_the_other_server_gets_what_the_first_one_got(site: Any) -> None:
    one = site("methods=GET,POST header=X-Mirror")
    one.get("/x?y=1", headers={"User-Agent": "me", "Cookie": "a=b"})
    one.lb.request("POST", "http://example.com/p", body=b"data" * 100)
    for original, copy in zip(one.a.requests, one.n.requests, strict=True):
        assert (copy.method, copy.target, copy.body) == (
            original.method, original.target, original.body,
        )  # fmt: skip
        marked = [pair for pair in copy.headers if pair[0] != "X-Mirror"]
        assert sorted(marked) == sorted(original.headers)
        assert copy.header("x-mirror") == "1" and not original.header("x-mirror")
    assert one.counters == {"copied": 2, "answered": 2}


def test_answers_that_agree_and_differ(site: Any) -> None:
    one = site("compare=status,headers,body ignore=date,x-origin")
    one.get()
    one.other = b"hallo"
    assert one.get().body == b"hello", "the client gets the original"
    one.other = Answer(500, b"hello", {"X-New": "1"})
    one.get("/path?token=1")
    assert one.counters == {
        "copied": 3, "answered": 3, "same": 1, "different": 2, "status": 1, "headers": 1, "body": 1,
    }  # fmt: skip
    last = one.lb.service.mirror_differences("app")[-1]
    assert (last.method, last.path, last.server, last.copy_server) == ("GET", "/path", "a", "n")
    assert last.what == ("status 200/500", "header x-new added")


def test_ignored_headers_may_differ(site: Any) -> None:
    one = site("compare=headers ignore=X-Node,X-Origin")
    one.answer = Answer(200, b"", {"X-Node": "a"})
    one.other = Answer(200, b"", {"X-Node": "b"})
    one.get()
    assert one.counters == {"copied": 1, "answered": 1, "same": 1}


def test_own_filters_do_not_count_as_a_difference(site: Any) -> None:
    one = site(
        "compare=headers ignore=X-Origin",
        app="filters = set-header response X-Ours yes\nsticky = cookie LB",
    )
    assert one.get().header("x-ours") == "yes"
    assert one.counters == {"copied": 1, "answered": 1, "same": 1}


def test_only_safe_methods_unless_asked(site: Any) -> None:
    one = site()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        one.lb.request(method, "http://example.com/", body=b"x")
    one.lb.request("HEAD", "http://example.com/")
    assert [request.method for request in one.n.requests] == ["HEAD"]


def test_a_share_of_the_requests(site: Any) -> None:
    one = site("share=20%")
    for _ in range(200):
        one.get()
    assert 20 <= len(one.n.requests) <= 60
    assert len(one.a.requests) == 200


def test_bodies_up_to_a_bound(site: Any) -> None:
    one = site("methods=POST body=1k")
    for size in (0, 1024, 1025):
        one.lb.request("POST", "http://example.com/", body=b"x" * size)
    assert [len(request.body) for request in one.n.requests] == [0, 1024]
    assert one.counters == {"copied": 2, "answered": 2, "too_large": 1}


def test_a_body_that_is_not_kept_is_not_copied(site: Any) -> None:
    one = site("methods=POST body=1m", app="retry_buffer = 1k")
    one.lb.request("POST", "http://example.com/", body=b"x" * 100_000)
    assert one.counters == {"too_large": 1}


@pytest.mark.parametrize("how", ["refuses", "hangs", "silent", "cut", "full", "down"])
def test_the_original_never_notices(site: Any, how: str) -> None:
    one = site("timeout=2s compare=status,body", more="queue = 0" if how == "full" else "")
    if how == "refuses":
        one.n.stop()
    elif how == "hangs":
        one.n.hang()
    elif how == "silent":
        one.other = None
    elif how == "cut":
        one.other = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", close=True)
    elif how == "full":
        one.lb.backend("next").group.set_maxconn("n", 1)
        one.other = None
    else:
        one.lb.service.maint("next", "n")
    for _ in range(3):
        began = one.lb.reactor.seconds()
        assert one.get().body == b"hello"
        assert one.lb.reactor.seconds() - began < 0.5
    one.lb.advance(3)
    assert one.counters == {"copied": 3, "failed": 3}


def test_so_many_copies_and_no_more(site: Any) -> None:
    one = site("max=2 timeout=10s")
    one.other = None
    for _ in range(5):
        one.get()
    assert one.counters == {"copied": 2, "busy": 3, "running": 2}
    assert len(one.lb.service.sessions("next")) == 2, "copies are sessions like others"
    assert one.lb.service.kill_sessions("next", "n") == 2
    assert one.counters == {"copied": 2, "busy": 3, "failed": 2}


def test_a_client_that_leaves_makes_no_difference(site: Any) -> None:
    one = site("compare=body")
    one.answer = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")
    pending = one.lb.begin("GET", "http://example.com/")
    pending.client.abort()
    one.lb.advance(1)
    assert one.counters == {"copied": 1, "answered": 1}, "nothing to compare with"


def test_a_pooled_connection_that_died_is_replaced(site: Any) -> None:
    one = site()
    one.get()
    one.n.stop()
    one.n.start()
    one.get()
    assert one.counters == {"copied": 2, "answered": 2}


def test_the_mirror_s_own_host_header(site: Any) -> None:
    one = site(more="host_header = next.internal")
    one.get()
    assert one.n.requests[0].header_values("host") == ["next.internal"]


def test_a_predicate_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers.py").write_text(
        "import json\n"
        "class Undecided:\n"
        "    def __bool__(self):\n"
        "        raise ValueError('neither true nor false')\n"
        "def differ(two):\n"
        "    if two.target == b'/broken':\n"
        "        raise SystemExit(3)\n"
        "    if two.target == b'/undecided':\n"
        "        return Undecided()\n"
        "    one, other = json.loads(two.original.body), json.loads(two.copy.body)\n"
        "    return 'price' if one['price'] != other['price'] else None\n"
    )
    one = Site("predicate=answers.py:differ")
    one.answer, one.other = b'{"price": 1, "id": 7}', b'{"price": 1, "id": 8}'
    one.get()
    one.other = b'{"price": 2}'
    one.get()
    one.get("/broken")
    one.get("/undecided")
    assert one.counters == {
        "copied": 4, "answered": 4, "same": 1, "different": 3, "predicate": 3,
    }  # fmt: skip
    failed = ("predicate failed",)
    assert [d.what for d in one.mirror.last] == [("predicate: price",), failed, failed]
    one.check()


def test_a_reload_keeps_counting_or_ends_it(site: Any) -> None:
    one = site("compare=status")
    one.get()
    text = f"""
    [frontend web]
    listen = tcp:8080
    backend = app
    [backend app]
    servers = a {A}
    retries = 1
    mirror = next compare=status
    [backend next]
    servers = n {N}
    """
    from textwrap import dedent

    service = one.lb.service
    assert service.reload(dedent(text)).ok
    one.get()
    assert one.counters["copied"] == 2
    assert service.reload(dedent(text).replace("compare=status", "share=100% compare=body")).ok
    one.get()
    assert one.counters["copied"] == 1 and len(one.n.requests) == 3


@pytest.mark.parametrize("how", ["reload", "stop"])
def test_copies_end_with_the_mirror(how: str) -> None:
    one = Site()
    one.n.hang()
    one.get()
    mirror = one.mirror
    assert len(mirror.running) == 1
    if how == "reload":
        text = (
            "[frontend web]\nlisten = tcp:8080\nroutes =\n    path /next -> next\n    default -> "
            "app\n"
            f"[backend app]\nservers = a {A}\n[backend next]\nservers = n {N}\n"
        )
        assert one.lb.service.reload(text).ok
    else:
        one.lb.backend("app").close()
    assert not mirror.running
    (server,) = one.lb.backend("next").group.servers.values()
    assert (server.active, server.sessions) == (0, set())
    one.lb.close()


WEB = "[frontend web]\nlisten = tcp:8080\nbackend = app\n[backend next]\nservers = n 10.0.0.2:80\n"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("mirror = nxet", "there is no backend 'nxet'; allowed: app, next; did you mean 'next'"),
        ("mirror = app", "cannot be its own mirror"),
        ("mirror = next share=200%", "out of bounds"),
        ("mirror = next methods=G;T", "'G;T' is neither"),
        ("mirror = next header=a:b", "'a:b' is neither"),
        ("mirror = next compare=status,bodies", "did you mean 'body'"),
        ("mirror = next predicate=differ", "is not FILE.py:FUNCTION"),
        ("mirror = next predicate=nowhere.py:differ", "cannot read nowhere.py"),
        ("mirror =", "has no value"),
        ("mirror = next max=0", "out of bounds"),
    ],
)
def test_mistakes_have_file_and_line(lines: str, found: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(f"{WEB}[backend app]\nservers = a 10.0.0.1:80\n{lines}\n", "lb.ini")
    assert found in str(caught.value) and "lb.ini:8" in str(caught.value)
    assert len(caught.value.errors) == 1


def test_the_line_can_be_written_back() -> None:
    line = "next share=12.5% body=1k timeout=1s max=7 header=X-M compare=headers ignore=Date"
    config = parse_config(f"{WEB}[backend app]\nservers = a 10.0.0.1:80\nmirror = {line}\n")
    assert parse_config(dump(config)) == config
    assert f"mirror = {line}\n" in dump(config)


def test_a_mirror_is_http() -> None:
    tcp = "[frontend t]\nmode = tcp\nlisten = tcp:9\nbackend = next\n"
    app = "[backend app]\nservers = a 10.0.0.1:80\nmirror = next\n"
    with pytest.raises(ConfigErrors, match="is tcp; a mirror must be http"):
        parse_config(WEB + tcp + app)
    with pytest.raises(ConfigErrors, match="only for http mode"):
        parse_config(WEB.replace("listen", "mode = tcp\nlisten") + app)


def test_an_answer_whose_body_comes_after_its_head() -> None:
    lb = LB.from_config(
        f"[frontend web]\nlisten = tcp:8080\nbackend = app\n"
        f"[backend app]\nservers = a {A}\nmirror = next compare=status,body\n"
        f"[backend next]\nservers = n {N}\n"
    )
    lb.origin("a", A, lambda request: b"hello")
    origin = lb.tcp_origin("n", N)
    lb.get("http://example.com/x")
    (copy,) = origin.connections
    copy.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    lb.advance(0.1)
    copy.send(b"hello")
    lb.advance(0.1)
    shown = Mirror.of(lb.backend("app")).snapshot()
    assert (shown["answered"], shown["same"], shown["running"]) == (1, 1, 0)
    lb.close()
