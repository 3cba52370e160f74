"""``check`` refuses what ``run`` would: overlapping addresses, long socket paths, routes that
nothing reaches.
"""

from __future__ import annotations

import pytest

from .fakes import MINIMAL, mistakes


def texts(text: str) -> list[str]:
    return [str(error) for error in mistakes(text)]


@pytest.mark.parametrize(
    ("one", "two", "how"),
    [
        ("tcp:80", "tcp:80:interface=127.0.0.1", "overlaps"),
        ("tcp:80:interface=127.0.0.1", "tcp:80", "overlaps"),
        ("tcp:80", "tcp6:80", "overlaps"),
        ("tcp6:80", "tcp:80:interface=127.0.0.1", "overlaps"),
        ("tcp6:80", "[::1]:80", "overlaps"),
        ("tcp:80", "0.0.0.0:80", "same address"),
        ("tcp:80", "[::1]:80", ""),
        ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.2", ""),
        ("tcp:80", "tcp:81", ""),
        ("tcp:0", "tcp:0", ""),
        ("unix:/a", "unix:/b", ""),
        ("unix:/a", "unix:/a", "same address"),
    ],
)
def test_listeners_that_overlap(one: str, two: str, how: str) -> None:
    found = texts(MINIMAL.replace("listen = tcp:8080", f"listen =\n    {one}\n    {two}"))
    assert (
        (len(found) == 1 and found[0].startswith("lb.ini:4:") and how in found[0])
        if how
        else (found == [])
    )


def test_the_admin_side_too() -> None:
    text = "[lbproxy]\nadmin = tcp:8080:interface=127.0.0.1\n" + MINIMAL
    assert "overlaps with the one at lb.ini:4" in texts(text)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("listen = tcp:8080", "listen = unix:/{path}"),
        ("a 10.0.0.1:80", "a unix:/{path}"),
        ("a 10.0.0.1:80", "a 10.0.0.1:80 check_address=unix:/{path}"),
        ("backend = app", "backend = app\naccess_log = syslog:unix:/{path}"),
    ],
)
def test_paths_of_unix_sockets(old: str, new: str) -> None:
    good = MINIMAL.replace(old, new.replace("{path}", "x" * 106))
    if "check_address" in new:
        good += "check = tcp\n"
    assert texts(good) == []
    (error,) = texts(good.replace("x" * 106, "x" * 107))
    assert "has at most 107 bytes" in error and "has 108" in error
    assert "has 108" in texts(good.replace("x" * 106, "é" * 53 + "x"))[0]  # bytes, not characters


@pytest.mark.parametrize(
    ("routes", "line", "message"),
    [
        (["path /a -> app", "path /a -> app"], 5, "never reached: the route at lb.ini:4"),
        (["path /a -> app", "path /a host x -> app"], 5, "never reached"),
        (["host x path /a -> app", "path /a host x -> app"], 5, "never reached"),
        (["path /api/* -> app", "path /api/v2/* /api/x -> app"], 5, "never reached"),
        (["path /api/* -> app", "host x path /api/v2/* -> app"], 5, "never reached"),
        (["path /api/* -> app", "path /api/v2/* /x -> app"], 0, ""),
        (["path /api/v2/* -> app", "path /api/* -> app"], 0, ""),
        (["not path /api/* -> app", "path /api/x -> app"], 0, ""),
        (["host x -> app", "host y -> app"], 0, ""),
        (["host x path /a -> app", "path /a -> app"], 0, ""),
        (["path /search?q=1 -> app"], 4, "compared without it; add 'query NAME VALUE'"),
        (["path /a#b -> app"], 4, "a fragment (#) is not sent"),
        (["path /v?/* -> app", 'path "/a b" -> app'], 0, ""),
    ],
)
def test_routes_that_are_never_reached(routes: list[str], line: int, message: str) -> None:
    lines = "\n".join(f"    {route}" for route in routes)
    found = texts(MINIMAL.replace("backend = app", f"routes =\n{lines}"))
    if not message:
        assert found == []
        return
    assert len(found) == 1 and found[0].startswith(f"lb.ini:{line}:") and message in found[0], found


def test_one_error_does_not_hide_another() -> None:
    text = MINIMAL.replace(
        "servers = a", "servers =\n    a 10.0.0.1:99999\n    b x:1 wieght=2\n    a"
    )
    found = texts(text)
    assert [one.partition("] ")[2].partition(":")[0] for one in found] == ["servers"] * 3
    assert "is not a port" in found[0] and "'weight'" in found[1]
    assert "server 'a' is already defined, at lb.ini:7" in found[2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("real_ip = CF-Connecting-IP", "no proxy may send this header"),
        ("real_ip = a b\ntrusted_proxies = 10.0.0.1", "is not the name of a header"),
        ("real_ip = X-Forwarded-For\ntrusted_proxies = 10.0.0.1", "contains a list"),
        ("real_ip = True-Client-IP\ntrusted_proxies = 10.0.0.1", ""),
    ],
)
def test_real_ip(lines: str, said: str) -> None:
    found = texts(MINIMAL.replace("backend = app", f"backend = app\n{lines}"))
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("methods = GET G(T", "'G(T' is not a request method"),
        ("methods = get", "in capitals, GET"),
        ("methods = GET TRACE", "TRACE is refused unless trace = yes"),
        ("methods = GET CONNECT", "CONNECT is refused unless connect = forward"),
        ("methods = GET TRACE CONNECT x\ntrace = yes\nconnect = forward", ""),
    ],
)
def test_methods(lines: str, said: str) -> None:
    found = texts(MINIMAL.replace("backend = app", f"backend = app\n{lines}"))
    assert len(found) == bool(said)
    assert said in "".join(found)


# -- words of other programs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("servers = a 10.0.0.1:80", "servers = a 10.0.0.1:80 inter=2s", "'every=2s' in 'check'"),
        ("servers = a 10.0.0.1:80", "servers = a 10.0.0.1:80 cookie=x", "'sticky = cookie NAME'"),
        ("servers = a 10.0.0.1:80", "servers = a 10.0.0.1:80 max_fails=3", "'passive = errors=5"),
        ("servers = a 10.0.0.1:80", "servers = a 10.0.0.1:80 check", "'check = tcp'"),
        ("servers = a 10.0.0.1:80", "servers = a 10.0.0.1:80\nbalance = source", "hash source"),
        ("servers = a 10.0.0.1:80", "server a 10.0.0.1:80 check", "'servers' with a line"),
        ("listen = tcp:8080", "bind :8080", "'listen = tcp:80'"),
        ("listen = tcp:8080", "bind = :8080", "'listen = tcp:80'"),
        ("listen = tcp:8080", "listen = tcp:8080 ssl", "'tls'"),
        ("backend = app", "default_backend = app", "'backend = NAME'"),
        ("backend = app", "proxy_pass = http://10.0.0.1", "'servers' in [backend NAME]"),
        ("backend = app", "backend = app\noption httplog", "a key of its own"),
        ("backend = app", "backend = app\ntimeout connect = 5s", "'timeout_connect'"),
        ("backend = app", "routes = location /x/ -> app", "'path /x/*'"),
        ("backend = app", "routes = Host(`a.example`) -> app", "'host NAME'"),
        ("backend = app", "backend = app\nfilters = add_header X y", "'add-header response"),
        ("servers = a", "check = httpchk /\nservers = a", "'check = http GET"),
        ("backend = app", "routes = hdr(host) a.example -> app", "'host NAME'"),
        ("backend = app", "routes = not path_beg /x -> app", "'path /x/*'"),
        ("[backend app]", "[upstream app]", "[backend NAME] with 'servers'"),
        ("[frontend web]", "[global]\nx = 1\n[frontend web]", "[lbproxy]"),
        ("backend = app", "backend = app\ngzip on;", "bodies pass as servers compress them"),
        ("backend = app", "backend = app\ngzip = on", "bodies pass as servers compress them"),
        ("backend = app", "backend = app\nlimit_req = zone=a burst=5", "[limit NAME] with 'rate'"),
        ("backend = app", "backend = app\nssl = on", "'listen = tls:443"),
        ("backend = app", "backend = app\nhttp2 on;", "HTTP/1.1"),
        ("backend = app", "backend = app\nroot /var/www;", "serves no files"),
        ("backend = app", "backend = app\nencode = gzip", "as servers compress them"),
        ("servers = a", "http-reuse always\nservers = a", "'reuse = never'"),
        ("servers = a", "hash-type consistent\nservers = a", "always consistent"),
        ("backend = app", "backend = app\nProxyPass / http://b/", "'servers' in [backend NAME]"),
        ("servers = a", "BalancerMember http://b\nservers = a", "'servers' with a line"),
        ("backend = app", "backend = app\nSSLCertificateFile = x.pem", "'certificates='"),
        ("[backend app]", "[VirtualHost *:80]", "[frontend NAME] with 'listen'"),
        ("servers = a", "serversTransport = inner\nservers = a", "'ca='"),
    ],
)
def test_words_of_others(old: str, new: str, said: str) -> None:
    found = texts(MINIMAL.replace(old, new))
    assert any("in lbproxy this is" in one and said in one for one in found), found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mode tcp", "write 'mode = tcp'"),
        ("retries 3", "write 'retries = 3'"),
        ("listen 80;", "write 'listen = 80'"),
        ("balance  hash   source", "write 'balance = hash   source'"),
        ("secret password=hunter2", ""),
        ("}", ""),
        ("location", ""),
    ],
)
def test_a_line_without_an_equals_sign(line: str, said: str) -> None:
    (found,) = texts(MINIMAL.replace("backend = app", f"backend = app\n{line}"))
    assert ("; write " in found) == bool(said)
    assert found.endswith(said) and "hunter2" not in found


def test_also_in_a_listen_section() -> None:
    text = "[listen a]\nbind = :80\nlisten = tcp:80\nservers = a 10.0.0.1:80\n"
    assert "in lbproxy this is 'listen" in texts(text)[0]


def test_our_own_words_are_not_explained_away() -> None:
    assert "did you mean 'weight'" in texts(MINIMAL.replace(":80\n", ":80 weigth=2\n"))[0]
    assert (
        "it belongs in [backend]"
        in texts(MINIMAL.replace("backend = app", "backend = app\ncheck = tcp"))[0]
    )


# -- conditions that cannot hold in their frontend -------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "route", "said"),
    [
        ("methods = GET HEAD", "method POST PUT", "methods contains none of these"),
        ("methods = GET HEAD", "method POST GET", ""),
        ("methods = GET HEAD", "not method POST", ""),
        ("", "scheme https", "no listener has TLS, and no proxy is trusted"),
        ("trusted_proxies = 10.0.0.0/8", "scheme https", ""),
        ("", "scheme http", ""),
        ("", "sni a.example.com", "no listener has TLS"),
        ("", "port 81", "no listener uses this port"),
        ("", "port 8080 81", ""),
        ("", "path ~^foo", "a path begins with '/'"),
        ("", "path ~^\\.well-known/ ~^api/.*$", "a path begins with '/'"),
        ("", "path ~^foo ~^/bar", ""),
        ("", "path ~^/foo", ""),
        ("", "path ~foo$", ""),
        ("", "path ~^\\*$", ""),
        ("", "path ~^f?/x", ""),
        ("", "path ~^f*/x", ""),
        ("", "path ~^f{0,1}/x", ""),
        ("", "path ~^foo|^/bar", ""),
        ("", "path ~^[a-z/]", ""),
        ("", "path ~^.a", ""),
        ("", "path ~^\\w", ""),
        ("", "not path ~^foo", ""),
        ("connect = forward", "path ~^db.internal:5432$", ""),
    ],
)
def test_a_condition_that_cannot_hold(lines: str, route: str, said: str) -> None:
    routes = f"{lines}\nroutes =\n    {route} -> app\n    default -> app"
    found = texts(MINIMAL.replace("backend = app", routes))
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(
    "listen", ["tcp:0", "systemd:domain=INET:index=0", "tcp:8080 accept_proxy=10.0.0.0/8"]
)
def test_a_port_that_is_not_known_may_be_any(listen: str) -> None:
    text = MINIMAL.replace("listen = tcp:8080", f"listen = {listen}")
    assert texts(text.replace("backend = app", "routes =\n    port 81 -> app")) == []


def test_a_site_may_stand_in_a_frontend_where_a_route_cannot_match() -> None:
    site = "[site a]\non = web\nhosts = a.example.com\nroutes = scheme https -> app\n"
    assert texts(MINIMAL + site) == []


def test_defaults_that_do_not_exist() -> None:
    (found,) = texts(MINIMAL.replace("backend = app", "backend = app\ndefaults = nope"))
    assert "there is no [defaults nope]" in found


def test_a_log_of_both_modes_says_so() -> None:
    """The error is at [lbproxy], which has no mode."""
    text = (
        "[lbproxy]\naccess_log = access.log json if status 5xx\n"
        "[listen db]\nmode = tcp\nlisten = tcp:5432\nservers = a 10.0.0.1:5432\n" + MINIMAL
    )
    (one,) = mistakes(text)
    assert "'status' needs mode = http" in one.message
    assert one.message.endswith("frontends of both modes use this log")
