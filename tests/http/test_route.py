"""Routes: which condition matches what, and the tables against a plain walk through the routes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.config.model import PluginSpec, RouteSpec
from lbproxy.errors import Kind, ProxyError
from lbproxy.http import pattern as patterns
from lbproxy.http.condition import compile_condition
from lbproxy.http.redirect import Redirect, RedirectOptions
from lbproxy.http.route import VERBS, Router, check_condition, normal_path
from tests.http.doc_examples import run_page
from tests.http.traffic import Traffic, request


def spec(text: str, backend: str = "b") -> RouteSpec:
    """``host a path /x`` with conditions separated by `` & ``; ``default`` for none."""
    conditions: list[tuple[str, tuple[str, ...], bool]] = []
    for part in text.split(" & ") if text != "default" else []:
        words = part.split()
        negated = words[0] == "not"
        verb, *args = words[negated:]
        conditions.append((verb, tuple(args), negated))
    return RouteSpec(tuple(conditions), backend, None, f"{text} -> {backend}")


def takes(text: str, traffic: Traffic) -> bool:
    return Router([spec(text)]).match(traffic) is not None


def http(target: str = "/", host: str = "example.com", **more: Any) -> Traffic:
    return Traffic(request(target, host, **more))


@pytest.mark.parametrize(
    ("text", "host", "wanted"),
    [
        ("host api.example.com", "api.example.com", True),
        ("host API.Example.com.", "api.example.com", True),
        ("host api.example.com", "api.example.com:8080", True),
        ("host api.example.com", "api.example.com.", True),
        ("host api.example.com", "xapi.example.com", False),
        ("host *.example.com", "a.example.com", True),
        ("host *.example.com", "a.b.example.com", True),
        ("host *.example.com", "example.com", False),
        ("host *.example.com", "badexample.com", False),
        ("host *", "anything", True),
        ("host *", "", True),
        ("host a b", "b", True),
        ("host a b", "c", False),
        ("not host a", "b", True),
        ("not host a", "a", False),
        ("not host *.a", "x.a", False),
        ("host [::1]", "[::1]:80", True),
        ("host bücher.example", "xn--bcher-kva.example", True),
        ("host ~^api[0-9]+\\.", "api12.example.com", True),
        ("host ~^api[0-9]+\\.", "api.example.com", False),
    ],
)
def test_host(text: str, host: str, wanted: bool) -> None:
    assert takes(text, http(host=host)) is wanted


@pytest.mark.parametrize(
    ("text", "target", "wanted"),
    [
        ("path /x", "/x", True),
        ("path /x", "/x?q=1", True),
        ("path /x", "/x/", False),
        ("path /x", "/X", False),
        ("path /x/*", "/x/", True),
        ("path /x/*", "/x/y/z", True),
        ("path /x/*", "/x", False),
        ("path /x/*", "/xy", False),
        ("path /x*", "/xy", True),
        ("path *.png", "/a/b.png", True),
        ("path *.png", "/a/b.png2", False),
        ("path /a/*/c", "/a/b/c", True),
        ("path /a/*/c", "/a/b/d", False),
        ("path /v?/*", "/v1/x", True),
        ("path /v?/*", "/v12/x", False),
        ("path ~^/[0-9]+$", "/123", True),
        ("path ~^/[0-9]+$", "/123a", False),
        ("path /a /b", "/b", True),
        ("not path /admin/*", "/admin/x", False),
        # spellings of the same path
        ("path /admin/*", "/%61dmin/x", True),
        ("path /admin/*", "/static/../admin/x", True),
        ("path /admin/*", "/static/%2e%2E/admin/x", True),
        ("path /admin/*", "//admin/x", True),
        ("path /admin/*", "/./admin//x", True),
        ("path /static/*", "/static/../admin", False),
        ("not path /admin/*", "/x/..//%61dmin/y", False),
        ("path /a@b", "/a%40b", True),
        ("path /caf\u00e9", "/caf%c3%a9", True),
        ("path /a%2fb", "/a%2Fb", True),
        ("path /a/b", "/a%2Fb", False),
    ],
)
def test_path(text: str, target: str, wanted: bool) -> None:
    assert takes(text, http(target)) is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("method GET", False),
        ("method POST PUT", True),
        ("not method GET HEAD", True),
        ("header x-kind", True),
        ("header X-Kind red", True),
        ("header X-Kind blue", True),
        ("header X-Kind re", False),
        ("header X-Kind r*", True),
        ("header X-Kind ~e", True),
        ("header X-Kind green blue", True),
        ("header X-None", False),
        ("not header X-None", True),
        ("cookie beta", True),
        ("cookie beta 1", True),
        ("cookie beta 2", False),
        ("cookie gamma", False),
        ("query v", True),
        ("query v 2", True),
        ("query v 3", False),
        ("query w", False),
        ("client 192.0.2.0/24", True),
        ("client 10.0.0.0/8 192.0.2.1", True),
        ("client 10.0.0.0/8", False),
        ("sni *.example.com", True),
        ("sni example.com", False),
        ("alpn h2 http/1.1", True),
        ("alpn h3", False),
        ("method POST & query v 2", True),
        ("method POST & query v 3", False),
        ("default", True),
    ],
)
def test_other_conditions(text: str, wanted: bool) -> None:
    traffic = http(
        "/?a=1&v=2",
        method="POST",
        headers=(("X-Kind", "red"), ("x-kind", "blue"), ("Cookie", "a=b; beta=1")),
    )
    traffic.sni, traffic.alpn = "www.example.com", ("h2",)
    assert takes(text, traffic) is wanted


def test_first_match_wins_then_default() -> None:
    router = Router([spec("path /a/*", "one"), spec("path /a/b", "two")], "rest")
    found = [router.match(http(target)) for target in ("/a/b", "/c")]
    assert [route.backend for route in found if route] == ["one", "rest"]
    assert Router([spec("path /a", "one")]).match(http("/b")) is None
    assert Router([]).match(http()) is None


@pytest.mark.parametrize("target", ["/..", "/a/../..", "/%2e%2e/x", "/a/..%2fadmin", "/a/..;/b"])
def test_ambiguous_paths_are_refused(target: str) -> None:
    with pytest.raises(ProxyError) as caught:
        Router([spec("not path /admin/*")], "app").match(http(target))
    assert caught.value.kind is Kind.BAD_REQUEST
    assert Router([spec("host x")], "app").match(http(target)) is not None


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b/.", b"/a/b/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/../", b"/a/"),
        (b"/a/../b", b"/b"),
        (b"//a///b", b"/a/b"),
        (b"/%41%7e%2D", b"/A~-"),
        (b"/%2f%3f", b"/%2F%3F"),
        (b"/%252e", b"/%252e"),
        (b"/%zz%4", b"/%zz%4"),
        (b"/\xc3\xa9", b"/%C3%A9"),
        (b"/...", b"/..."),
        (b"/.hidden", b"/.hidden"),
        (b"/a..b/..c", b"/a..b/..c"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/a%2F../b", None),
        (b"/a%2fb/../c", None),
        (b"/a\\..\\b", None),
        (b"/a/%2e%2e%5cb", None),
        (b"/..", None),
        (b"/../", None),
        (b"//..", None),
        (b"/a/../../b", None),
        (b"/..;a=b/c", None),
        (b"/a/..%3b/c", None),
        (b"/a/%2e.%3F/c", None),
        (b"/a/..%23", None),
        (b"/a/..%00/c", None),
        (b"/a/..%25/b", b"/a/..%25/b"),
        (b"/a%3B../b", b"/a%3B../b"),
        (b"*", b"*"),
        (b"example.com:443", b"example.com:443"),
        (b"", b""),
    ],
)
def test_normal_path(raw: bytes, normal: bytes | None) -> None:
    assert normal_path(raw) == normal


@given(st.lists(st.sampled_from([b"/", b"a", b".", b"..", b"%2e", b"%61", b"%2F", b";", b"\xff"])))
def test_normal_path_is_stable_and_has_no_dot_segments(parts: list[bytes]) -> None:
    normal = normal_path(b"/" + b"".join(parts))
    if normal is not None:
        assert normal_path(normal) == normal
        assert normal.startswith(b"/")
        assert b"//" not in normal
        assert not {b".", b".."} & set(normal.split(b"/"))


@pytest.mark.parametrize(
    ("verb", "args", "mode", "message"),
    [
        ("hots", ("a",), "http", "did you mean 'host'"),
        ("zzzz", ("a",), "http", "one of host, path"),
        ("path", ("/x",), "tcp", "client, sni, alpn"),
        ("host", ("x",), "tcp", "mode = http"),
        ("host", (), "http", "wants NAME..."),
        ("host", ("a:80",), "http", "ports are not compared"),
        ("host", ("a.*",), "http", "wildcard"),
        ("host", ("a b",), "http", "not a valid name"),
        ("path", ("x",), "http", "must begin with"),
        ("path", ("~(",), "http", "invalid regular expression"),
        ("path", ("~" + "a" * 2000,), "http", "2000 bytes"),
        ("path", ("/a/../b",), "http", "can never match"),
        ("path", ("/a//b",), "http", "can never match"),
        ("method", ("get",), "http", "GET"),
        ("method", ("G T",), "http", "not a word"),
        ("header", ("a b",), "http", "not a valid name"),
        ("header", ("a", "~["), "http", "invalid regular expression"),
        ("client", ("10.0.0.1/8",), "http", "host bits"),
        ("client", ("nonsense",), "tcp", "nonsense"),
    ],
)
def test_bad_conditions(verb: str, args: tuple[str, ...], mode: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_condition(verb, args, mode)
    assert message in str(caught.value)


def test_good_conditions() -> None:
    assert set(VERBS) == {
        "host",
        "path",
        "method",
        "header",
        "cookie",
        "query",
        "client",
        "sni",
        "alpn",
        "scheme",
        "port",
        "time",
        "status",
        "track",
    }
    for verb, args in (("client", ("10.0.0.0/8",)), ("sni", ("*.x",)), ("alpn", ("h2",))):
        check_condition(verb, args, "tcp")
        check_condition(verb, args, "http")


def test_standard_library_regex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_re2", lambda: None)
    assert takes("path ~^/a+$", http("/aaa"))
    with pytest.raises(ValueError, match="invalid regular expression"):
        check_condition("path", ("~(",), "http")


def test_tcp_routes_by_server_name() -> None:
    router = Router([spec("sni db.example.com", "db"), spec("client 10.0.0.0/8", "in")], "rest")
    for sni, ip, wanted in (
        ("db.example.com", "192.0.2.1", "db"),
        ("db.example.com.", "192.0.2.1", "db"),
        ("", "10.1.1.1", "in"),
        ("x", "192.0.2.1", "rest"),
    ):
        route = router.match(Traffic(client_ip=ip, sni=sni))
        assert route is not None and route.backend == wanted


def test_action_is_built() -> None:
    action = PluginSpec("redirect", Redirect, RedirectOptions("301", "https://{host}{uri}"))
    route = Router([RouteSpec((), "", action, "default -> redirect")]).match(http("/x"))
    assert route is not None
    reply = route.action.reply(http("/x?y"))
    assert reply.headers == [(b"Location", b"https://example.com/x?y")]


def test_explain() -> None:
    router = Router([spec("path /a/*", "one"), spec("host example.com", "two")], "rest")
    assert router.explain(http("/b")) == [
        ("path /a/* -> one", False, "path /a/*: path is '/b'"),
        ("host example.com -> two", True, "host is 'example.com'"),
        ("backend = rest", False, "not reached"),
    ]
    assert router.explain(http("/.."))[0][2].startswith("refused with 400")


# --- the tables against a walk

HOSTS = ["a.x", "b.x", "c.a.x", "x", "y", ""]
HOST_PATTERNS = ["a.x", "b.x", "*.x", "*.a.x", "*", "~a", "y"]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/b/c.png", "/%61/b"]
PATH_PATTERNS = ["/a", "/a/*", "/a/b/*", "/*", "*", "*.png", "/b*", "~c$", "/a/b", "/?"]

conditions = st.one_of(
    st.tuples(
        st.just("host"),
        st.lists(st.sampled_from(HOST_PATTERNS), min_size=1, max_size=2).map(tuple),
        st.booleans(),
    ),
    st.tuples(
        st.just("path"),
        st.lists(st.sampled_from(PATH_PATTERNS), min_size=1, max_size=2).map(tuple),
        st.booleans(),
    ),
    st.tuples(st.just("method"), st.just(("GET",)), st.booleans()),
    st.tuples(st.just("sni"), st.sampled_from([("a.x",), ("*.x",)]), st.booleans()),
)


@given(
    st.lists(st.lists(conditions, max_size=3), max_size=30),
    st.lists(
        st.tuples(st.sampled_from(HOSTS), st.sampled_from(PATHS), st.sampled_from(["", "a.x"])),
        min_size=1,
        max_size=6,
    ),
)
def test_tables_equal_walk(routes: Any, requests: Any) -> None:
    specs = [RouteSpec(tuple(route), str(index)) for index, route in enumerate(routes)]
    router = Router(specs, "rest")
    for host, target, sni in requests:
        traffic = http(target, host)
        traffic.sni = sni
        path = normal_path(traffic.request.path) if traffic.request else b""
        assert path is not None
        wanted = next(
            (
                one.backend
                for one in specs
                if all(compile_condition(*c).holds(traffic, path) for c in one.conditions)
            ),
            "rest",
        )
        found = router.match(traffic)
        assert found is not None and found.backend == wanted


@given(st.lists(st.sampled_from(PATH_PATTERNS), min_size=8, max_size=40), st.sampled_from(PATHS))
def test_path_tables_equal_walk(found_patterns: list[str], target: str) -> None:
    specs = [RouteSpec((("path", (p,), False),), str(i)) for i, p in enumerate(found_patterns)]
    traffic = http(target)
    path = normal_path(target.encode())
    assert path is not None
    wanted = [s.backend for s in specs if compile_condition(*s.conditions[0]).holds(traffic, path)]
    route = Router(specs).match(traffic)
    assert (route.backend if route else None) == (wanted[0] if wanted else None)


def test_thousand_hosts_are_not_walked() -> None:
    calls = 0

    class Counted(Traffic):
        def __getattribute__(self, name: str) -> Any:
            nonlocal calls
            calls += name == "request"
            return super().__getattribute__(name)

    router = Router([spec(f"host h{i}.x & method GET", str(i)) for i in range(1000)])
    route = router.match(Counted(request("/", "h999.x")))
    assert route is not None and route.backend == "999"
    assert calls <= 3


def test_the_examples_of_the_documentation_run() -> None:
    assert run_page("routing.rst") == 1
