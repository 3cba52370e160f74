"""``cache`` of a backend: its precedence, its errors, reloads, and what the commands show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config, reference
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer
from tests.admin.kit import admin

TEXT = """
[cache one]
[cache two]
[cache three]
[frontend web]
listen = tcp:80
{frontend}
routes = path /r/* -> app {route}
backend = app
[backend app]
servers = a 10.0.0.1:80
{backend}
"""
MINUTE = {"Cache-Control": "max-age=60"}

Make = Callable[[str], LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer whose servers answer with their name and the number of requests."""
    made = []

    def start(text: str) -> LoadBalancerFixture:
        lb = LB.from_config(text)
        made.append(lb)
        for name, host in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
            count = iter(range(1000))
            lb.origin(
                name,
                f"{host}:80",
                lambda one, name=name, count=count: Answer(
                    200, f"{name}{next(count)}".encode(), MINUTE
                ),
            )
        return lb

    yield start
    for lb in made:
        lb.close()


def text_of(frontend: str = "", route: str = "", backend: str = "") -> str:
    """The configuration with ``cache`` at some of the three places."""
    return TEXT.format(
        frontend=frontend and f"cache = {frontend}",
        route=route and f"cache={route}",
        backend=backend and f"cache = {backend}",
    )


def cache_of(lb: LoadBalancerFixture, path: str) -> str:
    """The cache that a request passes, and that answers it the second time."""
    first = lb.get(f"http://h{path}")
    second = lb.get(f"http://h{path}")
    name = first.header("Cache-Status").partition(";")[0]
    assert (second.body == first.body) is bool(name)
    assert second.header("Cache-Status").startswith(f"{name}; hit" if name else "")
    return name


@pytest.mark.parametrize(
    ("frontend", "backend", "route", "other", "routed"),
    [
        ("", "two", "", "two", "two"),
        ("one", "two", "", "two", "two"),
        ("one", "", "", "one", "one"),
        ("one", "none", "", "", ""),
        ("none", "two", "", "two", "two"),
        ("one", "two", "three", "two", "three"),
        ("one", "two", "none", "two", ""),
        ("one", "none", "three", "", "three"),
        ("", "none", "none", "", ""),
    ],
)
def test_the_route_precedes_the_backend_and_that_the_frontend(
    make: Make, frontend: str, backend: str, route: str, other: str, routed: str
) -> None:
    text = text_of(frontend, route, backend)
    lb = make(text)
    for path, name in (("/x", other), ("/r/x", routed)):
        assert cache_of(lb, path) == name
        found = explain_http(parse_config(text), "GET", f"http://h{path}", []).cache
        wanted = f"{name}: key backend=app scheme=http host=h target={path}"
        assert found == ([wanted] if name else [])
    assert set(lb.service.caches) == {other, routed} - {""}


def test_each_backend_of_a_frontend_has_its_own(make: Make) -> None:
    text = text_of(backend="one").replace("-> app", "-> files")
    lb = make(f"{text}\n[backend files]\nservers = b 10.0.0.2:80\ncache = two\n")
    assert (cache_of(lb, "/x"), cache_of(lb, "/r/x")) == ("one", "two")


def test_the_backend_of_two_frontends(make: Make) -> None:
    text = text_of(frontend="one", backend="two")
    lb = make(f"{text}\n[frontend other]\nlisten = tcp:81\nbackend = app\n")
    first = lb.get("http://h/x").body
    assert lb.get("http://h:81/x", headers={"Host": "h"}).body == first


def test_a_filter_that_chooses_another_backend(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "go.py"
    source.write_text(
        "from lbproxy.http.filter import Filter\n"
        "class Go(Filter):\n"
        "    def request(self, exchange):\n"
        "        if exchange.request.path == b'/go':\n"
        "            exchange.backend_name = 'other'\n"
    )
    text = text_of(backend="one").replace("routes =", f"filters = {source}:Go\nroutes =")
    lb = make(f"{text}\n[backend other]\nmode = http\nservers = b 10.0.0.2:80\ncache = two\n")
    assert cache_of(lb, "/go") == "one", "that of the backend of the route"
    assert lb.get("http://h/go").body == b"b0"
    assert explain_http(parse_config(text_of(backend="one")), "GET", "http://h/go", []).cache
    assert "two" not in lb.service.caches


def test_a_reload_adds_changes_and_removes_it(make: Make) -> None:
    lb = make(text_of(frontend="one"))
    steps = (("two", "two"), ("none", ""), ("three", "three"), ("", "one"))
    assert cache_of(lb, "/x") == "one"
    for backend, name in steps:
        report = lb.service.reload(text_of(frontend="one", backend=backend))
        assert report.ok
        assert "cache" in report.text()
        assert cache_of(lb, f"/{backend}") == name
    assert lb.service.reload(text_of(backend="two")).ok
    kept = lb.get("http://h/kept").body
    assert lb.service.reload(text_of(backend="two", frontend="three")).ok
    assert lb.get("http://h/kept").body == kept, "the cache continues"
    assert list(lb.service.caches) == ["two"]


def test_a_reload_with_an_error_changes_nothing(make: Make) -> None:
    lb = make(text_of(backend="two"))
    kept = lb.get("http://h/x").body
    report = lb.service.reload(text_of(backend="tow"))
    assert (
        "[backend app] cache: there is no [cache tow]; allowed: one, three, two" in report.errors[0]
    )
    assert lb.get("http://h/x").body == kept


def test_an_error_of_the_cache_is_reported_once_where_it_is_named(make: Make) -> None:
    lb = make(text_of())
    text = text_of(backend="two").replace("[cache two]", "[cache two]\nredis = yes")
    report = lb.service.reload(f"{text}[shared]\nredis = redis://127.0.0.1:1\n")
    assert report.errors == (
        "<text>:13: [backend app] cache: redis = yes needs [shared], which only a restart adds",
    )


def test_each_wrong_option_of_a_route_is_reported() -> None:
    found = mistakes(text_of(route="four waf=five") + "[waf six]\n")
    assert [one.partition(": there is no ")[2].partition(";")[0] for one in found] == [
        "[cache four]",
        "[waf five]",
    ]


def test_why_and_the_list_show_it() -> None:
    text = "[lbproxy]\nadmin = tcp:8404:interface=127.0.0.1\n"
    with admin(text + text_of(backend="two").replace("tcp:80\n", "tcp:8080\n")) as client:
        client.lb.origin("a", "10.0.0.1:80", Answer(200, b"x", MINUTE))
        client.lb.get("http://h:8080/x")
        assert [one["name"] for one in client.get("caches")["items"]] == ["two"]
        (found,) = client.ask("POST", "caches/two/why", {"url": "http://h:8080/x"}).data["stored"]
        assert (found["backend"], found["use"]) == ("app", "serve")


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        LB.from_config(text).close()
    return [str(one) for one in caught.value.errors]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            text_of(backend="four"),
            "<text>:12: [backend app] cache: there is no [cache four]; allowed: one, three, two",
        ),
        (
            text_of() + "[backend spare]\nmode = http\nservers = none\ncache = on\n",
            "<text>:16: [backend spare] cache: there is no [cache on]; allowed: one, three,"
            " two; did you mean 'one'?",
        ),
        (
            "[cache one]\n[frontend db]\nmode = tcp\nlisten = tcp:1\nbackend = db\n"
            "[backend db]\nservers = a 10.0.0.1:1\ncache = nowhere\n",
            "<text>:8: [backend db] cache: only for http mode, and this backend is tcp",
        ),
    ],
)
def test_mistakes(text: str, error: str) -> None:
    (found,) = mistakes(text)
    assert found == error


def test_defaults_are_those_of_frontends(make: Make) -> None:
    text = text_of(frontend="none")
    assert cache_of(make(f"[defaults]\ncache = one\n{text}"), "/x") == ""
    assert cache_of(make(f"[defaults]\ncache = one\n{text_of()}"), "/x") == "one"
    named = text.replace("servers =", "defaults = site\nservers =")
    assert cache_of(make(f"[defaults site]\ncache = two\n{named}"), "/x") == "two"


def test_a_listen_section_has_one_cache(make: Make) -> None:
    text = "[cache one]\n[cache two]\n{}[listen app]\nlisten = tcp:80\nservers = a 10.0.0.1:80\n"
    assert cache_of(make(text.format("") + "cache = one\n"), "/x") == "one"
    named = text.format("[defaults site]\ncache = two\n") + "defaults = site\n"
    assert cache_of(make(named), "/x") == "two"
    assert cache_of(make(named + "cache = none\n"), "/x") == ""


def test_it_is_written_back_and_documented() -> None:
    config = parse_config(text_of(backend="two"))
    assert parse_config(dump(config)) == config
    assert "cache = two" in dump(config)
    assert "Default: that of the backend, else that of the frontend" in reference()
