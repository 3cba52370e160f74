"""Requests that are refused, and those that are not: hosts, tokens, other people's pages,
garbage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbproxy.admin.auth import Role
from lbproxy.admin.channel import CONNECTIONS, PER_ADDRESS
from lbproxy.admin.request import BODY, SECURITY
from lbproxy.admin.stream import BEHIND
from lbproxy.testing.client import Client

from .kit import TEXT, AdminClient, admin

READ, WRITE = "r" * 20, "w" * 20


@pytest.fixture
def local() -> Iterator[AdminClient]:
    """On loopback, without tokens."""
    with admin() as client:
        yield client


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[AdminClient]:
    """For everybody with a token."""
    path = tmp_path / "tokens"
    path.write_text(f"read grafana {READ}\nwrite alice {WRITE}\n")
    path.chmod(0o600)
    text = TEXT.replace(":interface=127.0.0.1", f"\nadmin_tokens = {path}")
    with admin(text) as client:
        yield client


A = "backends/app/servers/a"


def weight(client: AdminClient) -> int:
    """Of the server that the tests try to change."""
    return int(client.lb.server("app", "a").weight)


def connections(client: AdminClient) -> int:
    """Open on the admin side."""
    return len(client.lb.service.admin._factories[0].channels)


# -- hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8404", "127.0.0.1:8404", "[::1]:8404", "LOCALHOST"]
)
def test_hosts_that_are_ours(local: AdminClient, host: str) -> None:
    assert local.ask("GET", "whoami", host=host).data == {"name": "local", "role": "write"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8404", "localhost.evil.example", "127.0.0.1.nip.io"]
)
def test_a_name_that_was_made_to_lead_here(local: AdminClient, host: str) -> None:
    answer = local.ask("GET", "state", host=host)
    assert answer.status == 421
    assert "admin_hosts" in answer.message


def test_admin_hosts() -> None:
    text = TEXT.replace("admin = ", "admin_hosts = lb.internal\nadmin = ")
    with admin(text) as client:
        assert client.ask("GET", "whoami", host="LB.internal:8404").status == 200
        assert client.ask("GET", "whoami", host="other.internal").status == 421


def test_one_host_header(local: AdminClient) -> None:
    client = local.lb.connect(local.target)
    client.send(b"GET /api/v1/state HTTP/1.1\r\n\r\n")
    assert b" 400 " in client.take()


# -- tokens --------------------------------------------------------------------------------------


def test_without_a_token(guarded: AdminClient) -> None:
    for path in (
        "state",
        "/metrics",
        "nothing",
        "/x",
        "/dashboard/../x",
        "/api/v1/backends/app/servers/a",
    ):
        answer = guarded.ask("GET", path)
        assert answer.status == 401, path
        assert answer.response.header("WWW-Authenticate") == 'Bearer realm="lbproxy"'
    assert guarded.ask("PATCH", A, {"weight": 5}).status == 401
    assert guarded.ask("GET", "state", Authorization="Bearer nonsense").status == 401
    assert guarded.ask("GET", "state", Authorization=f"Basic {READ}").status == 401
    assert guarded.ask("GET", "state", Authorization=f"Bearer {READ}x").status == 401
    assert weight(guarded) == 3


def test_a_token_that_may_read(guarded: AdminClient) -> None:
    token = f"Bearer {READ}"
    assert guarded.ask("GET", "whoami", Authorization=token).data["name"] == "grafana"
    assert guarded.ask("GET", "/metrics", Authorization=token).status == 200
    answer = guarded.ask("PATCH", A, {"weight": 5}, Authorization=token)
    assert (answer.status, weight(guarded)) == (403, 3)
    assert answer.message == "grafana may not do this: the role write is required"


def test_a_token_that_may_read_changes_nothing_anywhere(guarded: AdminClient) -> None:
    """Routes of every part: servers, caches, lists, bans, tracks, keys, challenges, reloads."""
    token = f"Bearer {READ}"
    allowed = []
    for route in guarded.lb.service.admin.table.routes:
        if route.method == "GET":
            assert route.role <= Role.READ, route.path
            continue
        path = "/".join("x" if part.startswith("{") else part for part in route.segments)
        status = guarded.ask(route.method, f"/{path}", {}, Authorization=token).status
        if status != 403:
            allowed.append(route.path)
    assert allowed == [
        "/api/v1/backends/{backend}/servers/{server}/drain/wait",
        "/api/v1/caches/{cache}/why",
    ]


def test_lists_that_grow_with_traffic_are_pages(guarded: AdminClient) -> None:
    """Others are as long as the configuration, or come in slices (the changes of lists)."""
    whole = {
        route.path
        for route in guarded.lb.service.admin.table.routes
        if route.answer.get("type") == "array"
    }
    assert whole == {"/api/v1/lists", "/api/v1/tracks", "/api/v1/challenge"}


def test_a_token_that_may_write(guarded: AdminClient) -> None:
    token = f"Bearer {WRITE}"
    answer = guarded.ask("PATCH", A, {"weight": 5}, Authorization=token, host="any.name.example")
    assert (answer.status, weight(guarded)) == (200, 5)
    last = guarded.get("events", Authorization=token)["items"][-1]
    assert (last["kind"], last["subject"]) == ("changed", "app/a")
    assert last["text"] == "app/a weight 3 -> 5, by alice"


def test_a_listener_that_allows_no_changes(tmp_path: Path) -> None:
    text = TEXT.replace("interface=127.0.0.1", "interface=127.0.0.1 role=read")
    with admin(text) as client:
        assert client.get("whoami")["role"] == "read"
        answer = client.ask("PATCH", A, {"weight": 5})
        assert (answer.status, weight(client)) == (403, 3)
        assert "at this address" in answer.message


def test_a_unix_socket_needs_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"read grafana {READ}\n")
    path.chmod(0o600)
    text = TEXT.replace(
        "admin = ", f"admin_tokens = {path}\nadmin =\n    unix:{tmp_path}/sock\n    "
    )
    with admin(text) as client:
        assert client.ask("GET", "whoami").status == 401
        client.target = f"unix:{tmp_path}/sock"
        assert client.ask("GET", "whoami", host="whatever").data["name"] == "socket"


# -- other people's pages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Origin": "https://evil.example"},
        {"Content-Type": "application/json", "Origin": "null"},
        {"Content-Type": "application/json", "Origin": "http://localhost:8080"},
        {"Content-Type": "application/json", "Origin": "http://["},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"},
        {},
    ],
)
def test_a_page_from_elsewhere_changes_nothing(local: AdminClient, headers: dict[str, str]) -> None:
    answer = local.ask("PATCH", A, raw=b'{"weight": 5}', **headers)
    assert (answer.status, weight(local)) == (403, 3)


def test_our_own_page_changes_things(local: AdminClient) -> None:
    headers = {"Origin": "http://localhost:8404", "Sec-Fetch-Site": "same-origin"}
    answer = local.ask("PATCH", A, {"weight": 5}, host="localhost:8404", **headers)
    assert (answer.status, weight(local)) == (200, 5)
    assert local.ask("POST", f"{A}/kill", X_Requested_With="x").data == {"killed": 0}


def test_nothing_is_shared_with_other_sites(local: AdminClient) -> None:
    for method, path in (
        ("GET", "state"),
        ("OPTIONS", "state"),
        ("GET", "none"),
        ("POST", "state"),
    ):
        answer = local.ask(method, path, Origin="https://evil.example")
        names = {name.lower() for name, _ in answer.response.headers}
        assert not any(name.startswith("access-control-") for name in names)
        assert "set-cookie" not in names
        for name, value in SECURITY.items():
            assert answer.response.header(name) == value


# -- garbage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"weight": NaN}', "not JSON"),
        (b"[" * 60000, "not JSON"),
        (b'{"weight": 1e999}', "weight is not an integer"),
        (b"[]", "the body is not an object"),
        (b'{"weight": -1}', "weight is less than 0"),
        (b'{"wight": 1}', "did you mean weight?"),
        (b"{}", "no change requested"),
        (b"", "no change requested"),
    ],
)
def test_a_body_that_is_wrong(local: AdminClient, body: bytes, words: str) -> None:
    answer = local.ask("PATCH", A, raw=body, Content_Type="application/json")
    assert (answer.status, weight(local)) == (400, 3)
    assert words in answer.message


def test_a_body_of_another_type(local: AdminClient) -> None:
    answer = local.ask("PATCH", A, raw=b"weight=5", Content_Type="text/plain", X_Requested_With="x")
    assert (answer.status, weight(local)) == (415, 3)


def test_a_body_that_is_not_wanted(local: AdminClient) -> None:
    assert local.ask("POST", f"{A}/kill", {"all": True}).status == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long(local: AdminClient, chunked: bool) -> None:
    client = local.lb.connect(local.target)
    head = f"PATCH /api/v1/{A} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    size = 10 * 1024 * 1024
    lines = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    client.send(f"{head}{lines}\r\n\r\n".encode())
    for _ in range(size // BODY):
        client.send(b"%x\r\n%s\r\n" % (BODY, b" " * BODY) if chunked else b" " * BODY)
        if client.finished:
            break
    received = client.take()
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b'"status":413' in received
    assert received.count(b"HTTP/1.1") == 1
    local.lb.advance(10)
    assert client.finished
    assert connections(local) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.1\r\nx\r\n\r\n",
    ],
)
def test_what_is_no_request(local: AdminClient, data: bytes) -> None:
    client = local.lb.connect(local.target)
    client.send(data)
    assert client.take().startswith(b"HTTP/1.1 400 ")
    local.lb.advance(10)
    assert client.finished
    assert connections(local) == 0
    assert local.get("whoami")


def test_paths_that_are_not_there(local: AdminClient) -> None:
    answer = local.ask("GET", "/api/v1/srvers")
    assert answer.status == 404
    assert "/api/v1/servers" in answer.data["error"]["nearest"]
    for path in (
        "/dashboard",
        "/dashboard/",
        "/dashboard/VERSION",
        "/dashboard/../auth.py",
        "/api",
        "/api/v1",
        "/%ff",
        "/api/v1/backends//servers",
        "/../etc/passwd",
    ):
        assert local.ask("GET", path).status == 404, path
    answer = local.ask("PUT", "state")
    assert (answer.status, answer.response.header("Allow")) == (405, "GET")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "limit=-1",
        "offset=99999999999999999999",
        "nothing=1",
        "state=left",
    ],
)
def test_parameters_that_are_wrong(local: AdminClient, query: str) -> None:
    answer = local.ask("GET", f"servers?{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in answer.message


def test_names_that_are_not_there(local: AdminClient) -> None:
    answer = local.ask("GET", "backends/ap")
    assert (answer.status, answer.data["error"]["nearest"]) == (404, ["app", "pg"])
    answer = local.ask("DELETE", "backends/app/servers/aa")
    assert (answer.status, answer.data["error"]["nearest"]) == (404, ["app/a"])
    assert "did you mean 'app/a'?" in answer.message
    assert local.ask("GET", f"backends/{'x' * 5000}").status == 404


def test_head_has_no_body(local: AdminClient) -> None:
    response = local.ask("HEAD", "state").response
    assert (response.status, response.body) == (200, b"")
    assert local.ask("HEAD", "/metrics").response.body == b""
    assert local.ask("HEAD", "stream").response.body == b""


def stranger(asked: AdminClient, number: int) -> Client:
    """A connection from one of ten addresses."""
    return asked.lb.connect(asked.target, client=f"198.51.100.{number % 10}")


def test_more_connections_than_are_good(local: AdminClient) -> None:
    clients = [stranger(local, number) for number in range(CONNECTIONS + 5)]
    assert sum(client.finished for client in clients) == 5
    assert connections(local) == CONNECTIONS
    local.lb.advance(200)
    assert connections(local) == 0, "idle ones are closed"
    assert local.get("whoami")


def test_who_is_known_keeps_his_place(guarded: AdminClient) -> None:
    """However many come and say nothing."""
    alice = guarded.lb.connect(guarded.target)
    ask = f"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READ}\r\n\r\n"
    alice.send(ask.encode())
    assert b"grafana" in alice.take()
    strangers = [stranger(guarded, number) for number in range(CONNECTIONS + 20)]
    assert connections(guarded) == CONNECTIONS
    assert [client.finished for client in strangers[:21]] == [True] * 21
    alice.send(ask.encode())
    assert b"grafana" in alice.take()
    assert guarded.ask("GET", "whoami", Authorization=f"Bearer {READ}").status == 200


def test_one_address_does_not_take_all_connections(guarded: AdminClient) -> None:
    """Unknown callers go first, then readers, then the newcomer; others are not affected."""

    def known(token: str) -> Client:
        client = guarded.lb.connect(guarded.target, client="198.51.100.9")
        ask = f"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        client.send(ask.encode())
        assert b"200 OK" in client.take()
        return client

    other = stranger(guarded, 1)
    writers = [known(WRITE) for _ in range(PER_ADDRESS - 2)]
    reader = known(READ)
    unknown = guarded.lb.connect(guarded.target, client="198.51.100.9")
    writers.append(known(WRITE))
    assert unknown.finished and not reader.finished
    writers.append(known(WRITE))
    assert reader.finished
    late = guarded.lb.connect(guarded.target, client="198.51.100.9")
    assert late.finished
    assert not other.finished and not any(one.finished for one in writers)


def test_the_limit_of_an_address_spares_this_machine(local: AdminClient) -> None:
    clients = [local.lb.connect(local.target, client="127.0.0.1") for _ in range(PER_ADDRESS + 5)]
    assert not any(client.finished for client in clients)


@pytest.mark.parametrize("start", [b"", b"GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_request_has_one_deadline(local: AdminClient, start: bytes) -> None:
    client = local.lb.connect(local.target)
    client.send(start)
    for _ in range(80):
        local.lb.advance(1.0)
        if client.finished:
            break
        client.send(b"x" if start else b"")
    assert client.finished
    assert connections(local) == 0


def test_an_answer_that_nobody_takes(local: AdminClient) -> None:
    """It comes in pieces, the client takes the first of them, and then no more."""
    lines = "".join(f"    n{n} 10.1.{n // 250}.{n % 250 + 1}:80\n" for n in range(3000))
    assert local.lb.service.reload(f"{TEXT}[backend many]\nmode = tcp\nservers =\n{lines}").ok
    client = local.lb.connect(local.target)
    client.pause()
    client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    local.lb.advance(BEHIND - 5)
    assert connections(local) == 1
    local.lb.advance(10)
    assert connections(local) == 0


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Host: \xff\xfe", 421),
        (b"Host: localhost\r\nAuthorization: Bearer \xff\xfe", 200),
        (b"Host: localhost\r\nAccept: \xff", 200),
        (b"Host: localhost\r\nLast-Event-ID: \xb2", 200),
        (b"Host: [", 421),
    ],
)
def test_headers_may_hold_any_bytes(local: AdminClient, header: bytes, status: int) -> None:
    client = local.lb.connect(local.target)
    client.send(b"GET /api/v1/whoami HTTP/1.1\r\n" + header + b"\r\n\r\n")
    reason = {200: b"OK", 421: b"Misdirected Request"}[status]
    assert client.take().startswith(b"HTTP/1.1 %d %s\r\n" % (status, reason))


def test_a_handler_that_fails_says_so_in_the_log_only(
    local: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.lb.service, "key_pairs", lambda: 1 / 0)
    answer = local.ask("GET", "certificates")
    assert (answer.status, answer.message) == (500, "internal error; see the log of lbproxy")
    assert "ZeroDivisionError" not in answer.response.text
    answer = local.ask("GET", "state")
    assert answer.status == 500
