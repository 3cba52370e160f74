"""The files of other programs in docs/examples/migration, and their translations."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lbproxy.cli.offline import NO_FILES
from lbproxy.decide.explain import Explanation, explain_http, explain_tcp
from lbproxy.http.message import header_pairs
from lbproxy.registry import load_config

from .pages import DOCS, EXAMPLES

FOLDER = EXAMPLES / "migration"
PAIRS = {
    "nginx": "nginx.conf",
    "haproxy": "haproxy.cfg",
    "caddy": "Caddyfile",
    "traefik": "traefik-dynamic.yml",
    "apache": "httpd.conf",
}


def load(name: str) -> Any:
    return load_config(FOLDER / f"{name}.ini", files=NO_FILES)


def asked(name: str, url: str, client: str = "192.0.2.1", **headers: str) -> str:
    """The backend of a request, or what it is answered with."""
    pairs = header_pairs(list(headers.items()))
    found: Explanation = explain_http(load(name), "GET", url, pairs, client)
    assert not found.error, found.error
    return found.backend or found.action.removeprefix("answered with ")


@pytest.mark.parametrize(
    ("url", "client", "wanted"),
    [
        ("http://www.example.com/a?b=c", "192.0.2.1", "301 to https://example.com/a?b=c"),
        ("https://example.com/", "192.0.2.1", "app"),
        ("https://other.example/", "192.0.2.1", "421"),
        ("https://example.com/health", "192.0.2.1", "200"),
        ("https://example.com/login", "192.0.2.1", "app"),
        ("https://example.com/admin/x", "192.0.2.1", "403"),
        ("https://example.com/admin/x", "10.2.3.4", "app"),
        ("https://example.com/static/a.css", "192.0.2.1", "assets"),
        ("https://example.com/api/x.png", "192.0.2.1", "assets"),
        ("https://example.com/api/x", "192.0.2.1", "slow"),
    ],
)
def test_nginx(url: str, client: str, wanted: str) -> None:
    assert asked("nginx", url, client) == wanted


def test_nginx_limits_caches_and_paths() -> None:
    config = load("nginx")
    web = next(one for one in config.frontends if one.name == "web")
    routes = {" ".join(map(str, route.conditions[0][1])): route for route in web.routes[:-1]}
    assert routes["/login"].limits == ("login",) and routes["/api/*"].limits == ("api",)
    assert routes["/static/*"].cache == "pages"
    (log,) = [config.settings.access_log]
    assert log.conditions == (("path", ("/health",), True),)
    assert config.backend("slow").timeout_response == 300.0


@pytest.mark.parametrize(
    ("url", "client", "headers", "wanted"),
    [
        ("http://a.example/x", "192.0.2.1", {}, "301 to https://a.example/x"),
        ("https://a.example/x", "192.0.2.1", {}, "app"),
        ("https://a.example/api/x", "192.0.2.1", {}, "api"),
        ("https://a.example/x.js", "192.0.2.1", {}, "static"),
        ("https://a.example/metrics", "192.0.2.1", {}, "403"),
        ("https://a.example/metrics", "10.0.0.5", {}, "app"),
        ("https://a.example/", "192.0.2.1", {"User-Agent": "x SQLMap/1"}, "403"),
    ],
)
def test_haproxy(url: str, client: str, headers: dict[str, str], wanted: str) -> None:
    assert asked("haproxy", url, client, **headers) == wanted


def test_haproxy_tcp() -> None:
    found = explain_tcp(load("haproxy"), 5432, "", (), "192.0.2.1")
    assert (found.backend, found.pick) == ("postgres", "pg1")


@pytest.mark.parametrize(
    ("url", "client", "wanted"),
    [
        ("http://example.com/a", "192.0.2.1", "301 to https://example.com/a"),
        ("https://example.com/old/x", "192.0.2.1", "301 to /new/"),
        ("https://example.com/health", "192.0.2.1", "200"),
        ("https://example.com/api/x", "192.0.2.1", "api"),
        ("https://example.com/ws/x", "192.0.2.1", "ws"),
        ("https://example.com/staff/x", "192.0.2.1", "403"),
        ("https://example.com/staff/x", "10.0.0.5", "app"),
        ("https://example.com/", "192.0.2.1", "app"),
    ],
)
def test_caddy(url: str, client: str, wanted: str) -> None:
    assert asked("caddy", url, client) == wanted


@pytest.mark.parametrize(
    ("url", "client", "headers", "wanted"),
    [
        ("http://example.com/x", "192.0.2.1", {}, "301 to https://example.com/x"),
        ("http://example.com/ping", "192.0.2.1", {}, "200"),
        ("https://other.example/", "192.0.2.1", {}, "404"),
        ("https://example.com/api/x", "192.0.2.1", {}, "api"),
        ("https://example.com/api/x", "192.0.2.1", {"X-Beta": "yes"}, "shop-v2"),
        ("https://www.example.com/api/x", "192.0.2.1", {}, "shop"),
        ("https://example.com/staff", "192.0.2.1", {}, "403"),
        ("https://example.com/staff", "10.0.0.5", {}, "shop"),
        ("https://example.com/shop.php", "192.0.2.1", {}, "301 to https://example.com/shop"),
    ],
)
def test_traefik(url: str, client: str, headers: dict[str, str], wanted: str) -> None:
    assert asked("traefik", url, client, **headers) == wanted


@pytest.mark.parametrize(
    ("port", "name", "wanted"),
    [(443, "mail.example.com", "mail"), (443, "example.com", "https"), (5432, "", "postgres")],
)
def test_traefik_tcp(port: int, name: str, wanted: str) -> None:
    assert explain_tcp(load("traefik"), port, name, (), "192.0.2.1").backend == wanted


@pytest.mark.parametrize(
    ("url", "client", "headers", "wanted"),
    [
        ("http://shop.example.com/a?b", "192.0.2.1", {}, "301 to https://shop.example.com/a?b"),
        ("https://shop.example.com/a", "192.0.2.1", {}, "app"),
        ("https://shop.example.com/a", "192.0.2.1", {"User-Agent": "x badbot/2"}, "403"),
        ("https://shop.example.com/static/a.css", "192.0.2.1", {}, "static"),
        ("https://shop.example.com/staticky", "192.0.2.1", {}, "app"),
        ("https://shop.example.com/live/1", "192.0.2.1", {"Upgrade": "WebSocket"}, "live"),
        ("https://shop.example.com/live/1", "192.0.2.1", {}, "app"),
        ("https://shop.example.com/admin", "192.0.2.1", {}, "403"),
        ("https://shop.example.com/admin/x", "10.0.0.5", {}, "app"),
        (
            *("https://shop.example.com/archive/1", "192.0.2.1", {}),
            "301 to https://archive.example.com/archive/1",
        ),
    ],
)
def test_apache(url: str, client: str, headers: dict[str, str], wanted: str) -> None:
    assert asked("apache", url, client, **headers) == wanted


@pytest.mark.parametrize("name", PAIRS)
def test_all_servers_of_the_original_are_there(name: str) -> None:
    original = (FOLDER / PAIRS[name]).read_text(encoding="utf-8")
    address = re.compile(r"\b(?:10\.0\.0\.\d+|app\.internal):\d+\b")
    assert len(address.findall(original)) > 2
    found = {str(one.target) for backend in load(name).backends for one in backend.servers}
    assert set(address.findall(original)) <= {text.split()[0] for text in found}


def test_the_page_shows_all_of_them() -> None:
    page = (DOCS / "migration.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"literalinclude:: examples/migration/(\S+)", page))
    assert shown == {path.name for path in FOLDER.iterdir()}
