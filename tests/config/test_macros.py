"""``[defaults]``, ``[listen NAME]`` and ``[site NAME]``: what they mean, and errors where they are
written.
"""

from __future__ import annotations

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.model import Config

from .fakes import build, files, mistakes


def texts(text: str, **more: object) -> list[str]:
    return [str(error) for error in mistakes(text, **more)]


# -- [defaults] ------------------------------------------------------------------------------------

DEFAULTS = """\
[defaults]
timeout_client = 7s
timeout_connect = 2s
balance = leastconn
max_body = 1m

[defaults db]
mode = tcp
timeout_client = 1h

[frontend web]
listen = tcp:80
backend = app

[frontend sql]
defaults = db
listen = tcp:5432
backend = pg

[frontend plain]
defaults = none
listen = tcp:81
backend = app
timeout_client = 9s

[backend app]
servers = a 10.0.0.1:80
timeout_connect = 3s

[backend pg]
servers = a 10.0.0.1:5432
"""


def test_what_is_inherited() -> None:
    config = build(DEFAULTS)
    web, sql, plain = config.frontends
    assert (web.timeout_client, web.max_body, web.mode) == (7.0, 1 << 20, "http")
    assert (sql.timeout_client, sql.max_body, sql.mode) == (3600.0, None, "tcp")
    assert (plain.timeout_client, plain.max_body) == (9.0, None)
    app, pg = config.backends
    assert (app.timeout_connect, app.balance.name) == (3.0, "leastconn")
    assert (pg.timeout_connect, pg.mode) == (2.0, "tcp")
    assert build(dump(config)) == config


def test_keys_of_the_other_mode_are_left_out() -> None:
    text = DEFAULTS.replace("balance", "pool_size = 3\nhedge_share = 5%\nbalance")
    app, pg = build(text).backends
    assert (app.pool_size, pg.pool_size) == (3, 256)


def test_a_mode_is_for_sections_of_that_mode() -> None:
    text = DEFAULTS.replace("[defaults]\n", "[defaults]\nmode = http\n")
    config = build(text)
    assert [spec.timeout_connect for spec in config.backends] == [3.0, 5.0]  # pg is tcp
    tcp = build(
        "[defaults]\nmode = tcp\n"
        + DEFAULTS[DEFAULTS.index("[frontend web]") :]
        .replace("defaults = db\n", "")
        .replace("defaults = none\n", "")
    )
    assert {spec.mode for spec in (*tcp.frontends, *tcp.backends)} == {"tcp"}


def test_a_mistake_is_reported_once_and_where_it_is() -> None:
    assert texts(DEFAULTS.replace("= 2s", "= 2x").replace("timeout_connect = 3s\n", "")) == [
        "lb.ini:3: [defaults] timeout_connect: '2x' is not a duration: write 500ms, 30s, 2m, 1h, "
        "1d or 1m30s"
    ]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("balance", "balnce", "lb.ini:4: [defaults] balnce: unknown key 'balnce'"),
        ("balance = leastconn", "listen = tcp:1",
            "lb.ini:4: [defaults] listen: unknown key 'listen'"),
        ("defaults = db", "defaults = bd", "lb.ini:16: [frontend sql] defaults: there is no "
            "[defaults bd]"),
        ("defaults = db", "", "lb.ini:7: [defaults db]: no frontend and no backend uses it"),
        ("[defaults db]", "[defaults none]", "'none' is reserved as a name"),
        ("[defaults db]", "[defaults]", "lb.ini:7: [defaults]: this section is already defined, "
            "at lb.ini:1"),
    ],
)  # fmt: skip
def test_wrong_defaults(old: str, new: str, error: str) -> None:
    assert any(error in text for text in texts(DEFAULTS.replace(old, new))), texts(
        DEFAULTS.replace(old, new)
    )


# -- [listen NAME] ---------------------------------------------------------------------------------

LISTEN = """\
[listen pg]
mode = tcp
listen = tcp:5432
maxconn = 10
balance = leastconn
servers =
    a 10.0.0.1:5432
    b 10.0.0.2:5432
"""


def test_a_frontend_and_a_backend_in_one() -> None:
    config = build(LISTEN)
    (front,), (back,) = config.frontends, config.backends
    assert (front.name, front.mode, front.backend, front.maxconn) == ("pg", "tcp", "pg", 10)
    assert (back.name, back.mode, back.balance.name, back.maxconn) == ("pg", "tcp", "leastconn", 0)
    assert len(back.servers) == 2
    assert build(dump(config)) == config


def test_it_inherits() -> None:
    assert build("[defaults]\ntimeout_connect = 2s\n" + LISTEN).backends[0].timeout_connect == 2.0


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("maxconn = 10", "maxcon = 10", "lb.ini:4: [listen pg] maxcon: unknown key 'maxcon'; "
            "did you mean 'maxconn'?"),
        ("maxconn = 10", "backend = x", "lb.ini:4: [listen pg] backend: unknown key 'backend'"),
        ("b 10.0.0.2:5432", "b nowhere", "lb.ini:8: [listen pg] servers: address: 'nowhere' is "
            "not an address"),
        ("b 10.0.0.2", "a 10.0.0.2", "lb.ini:8: [listen pg] servers: server 'a' is already "
            "defined, at lb.ini:7"),
        ("[listen pg]", "[listen]", "lb.ini:1: [listen]: a listen needs a name: [listen NAME]"),
        ("listen = tcp:5432\n", "", "lb.ini:1: [listen pg] listen: the frontend has no listener"),
    ],
)  # fmt: skip
def test_wrong_listen(old: str, new: str, error: str) -> None:
    assert any(text.startswith(error) for text in texts(LISTEN.replace(old, new))), texts(
        LISTEN.replace(old, new)
    )


def test_its_name_is_taken() -> None:
    text = LISTEN + "[backend pg]\nservers = a 10.0.0.1:1\n"
    assert "this section is already defined, at lb.ini:" in texts(text)[0]


# -- [site NAME] -----------------------------------------------------------------------------------

MAIN = """\
include = sites/*.ini

[frontend web]
listen =
    tcp:80
    tls:443 certificates=certs/main.pem
filters = set-header request X-A 1
routes =
    path /.well-known/* -> app
    default             -> app

[backend app]
servers = a 10.0.0.1:80
"""
SHOP = """\
[site shop]
on = web
hosts = shop.example.com *.shop.example.com
backend = shop
routes = path /static/* -> app
filters =
    set-header response X-Shop 1
    set-header response X-Api 1 if path /api/*
certificates = certs/shop.pem

[backend shop]
servers = a 10.0.0.2:80
"""
WILD = """\
[site wild]
on = web
hosts = *.example.com
routes = default -> redirect 302 https://example.com/
"""


def sites(**contents: str) -> Config:
    return build(MAIN, files=where(**contents))


def where(**contents: str) -> object:
    found = {f"/etc/lb/sites/{name}.ini": text for name, text in contents.items()}
    return files(found)


def test_routes_by_host_in_an_order_that_no_file_decides() -> None:
    for names in (("a", "b"), ("b", "a")):
        config = sites(**dict(zip(names, (SHOP, WILD), strict=True)))
        assert [route.text for route in config.frontends[0].routes] == [
            "path /.well-known/* -> app",
            "host shop.example.com path /static/* -> app",
            "host shop.example.com -> shop",
            "host *.shop.example.com path /static/* -> app",
            "host *.shop.example.com -> shop",
            "host *.example.com -> redirect 302 https://example.com/",
            "default -> app",
        ]
        assert build(dump(config)) == config


def test_filters_and_certificates() -> None:
    (web,) = sites(a=SHOP).frontends
    hosts = ("host", ("shop.example.com", "*.shop.example.com"), False)
    assert [spec.conditions for spec in web.filters] == [
        (),
        (hosts,),
        (("path", ("/api/*",), False), hosts),
    ]
    assert web.listen[0].certificates == ()
    assert web.listen[1].certificates == ("/etc/lb/certs/main.pem", "/etc/lb/certs/shop.pem")


def test_errors_are_where_the_site_is() -> None:
    def wrong(old: str, new: str, site: str = SHOP) -> list[str]:
        return texts(MAIN, files=where(a=site.replace(old, new), b=WILD))

    path = "/etc/lb/sites/a.ini"
    assert wrong("path /static/*", "path static")[0].startswith(
        f"{path}:5: [site shop] routes: path 'static' must begin"
    )
    assert wrong("on = web", "on = wbe") == [
        f"{path}:2: [site shop] on: there is no frontend 'wbe'; allowed: web; did you mean 'web'?",
        f"{path}:11: [backend shop] mode: no frontend uses this backend; write its mode (tcp or "
        "http), or remove it",
    ]
    assert wrong("X-Api 1 if", "X-Api 1 f")[0].startswith(f"{path}:8: [site shop] filters:")
    assert wrong("hosts = ", "hots = ")[0].startswith(f"{path}:1: [site shop] hosts: a site needs")
    assert wrong("*.shop", "*.")[0] == (
        f"{path}:3: [site shop] hosts: host '*..example.com' is not a valid name"
    )
    assert (
        "is taken by [site shop] at /etc/lb/sites/a.ini:1"
        in wrong("*.shop.example.com", "*.EXAMPLE.com")[0]
    )
    assert wrong("backend = shop\nroutes = path /static/* -> app\n", "")[0].startswith(
        f"{path}:1: [site shop]: the site has neither a backend nor routes"
    )


def test_a_site_of_a_tcp_frontend_is_chosen_by_sni() -> None:
    text = "[frontend t]\nmode = tcp\nlisten = tcp:443\n[backend b]\nservers = a 10.0.0.1:443\n"
    site = "[site s]\non = t\nhosts = a.example\nbackend = b\n"
    (route,) = build(text + site).frontends[0].routes
    assert route.text == "sni a.example -> b"
