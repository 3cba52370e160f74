"""The firewall at routes: what it refuses, what passes, and bodies that it holds."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("re2")

from lbproxy.config.errors import ConfigErrors
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer

TEXT = """
[waf main]
{waf}
[frontend web]
listen = tcp:80
access_log = mem.log json
waf = main
{frontend}
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
ATTACK = "%27%20or%201%3D1--"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer with more lines in the sections waf and frontend."""
    made = []

    def start(waf: str = "", frontend: str = "") -> LoadBalancerFixture:
        lb = LB.from_config(TEXT.format(waf=waf, frontend=frontend))
        lb.origin("a", "10.0.0.1:80", lambda request: Answer(200, request.body or b"ok"))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def counters(lb: LoadBalancerFixture) -> Any:
    """Those of the only route."""
    (route,) = lb.service.routes.values()
    return route.features["waf"].snapshot()


def last(lb: LoadBalancerFixture) -> Any:
    """The last record of the access log."""
    return json.loads(lb.log_lines()[-1])


def test_an_attack_in_the_query_is_refused_and_logged(make: Make) -> None:
    lb = make()
    response = lb.get(f"http://h/a?q={ATTACK}")
    assert response.status == 403
    record = last(lb)
    assert record["close"] == "blocked"
    assert record["detail"].startswith("waf main: score ")
    assert "942100 SQL comparison after a quote in ARGS:q" in record["detail"]
    assert record["request_id"] == response.header("X-Request-Id")
    assert record["request_id"].encode() in response.body
    found = counters(lb)
    assert (found["requests"], found["blocked"], found["detected"]) == (1, 1, 0)
    assert found["sqli"] >= 1


def test_an_ordinary_request_passes(make: Make) -> None:
    lb = make()
    assert lb.get("http://h/a?q=O%27Brien").status == 200
    assert last(lb)["detail"] == ""
    assert counters(lb)["requests"] == 1


def test_detection_lets_pass_and_logs(make: Make) -> None:
    lb = make("mode = detect")
    assert lb.get(f"http://h/a?q={ATTACK}").status == 200
    assert last(lb)["detail"].startswith("waf main would refuse: score ")
    assert (counters(lb)["blocked"], counters(lb)["detected"]) == (0, 1)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"q=%27+or+1%3D1--", FORM, 403),
        (b"q=hello", FORM, 200),
        (json.dumps({"a": [{"b": "<script>alert(1)</script>"}]}).encode(), JSON, 403),
        (b'{"query": "{ user(id: 1) { name } }"}', JSON, 200),
        (b"{broken", JSON, 400),
        (b"no multipart", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
        (gzip.compress(b"q=%27+or+1%3D1--", mtime=0), {**FORM, "Content-Encoding": "gzip"}, 403),
        (gzip.compress(b"q=hello", mtime=0), {**FORM, "Content-Encoding": "gzip"}, 200),
        (b"x", {**FORM, "Content-Encoding": "br"}, 415),
        (b"x", {"Content-Type": "text/plain; charset=nonsense"}, 415),
    ],
)
def test_bodies(make: Make, body: bytes, headers: dict[str, str], status: int) -> None:
    lb = make()
    response = lb.request("POST", "http://h/a", headers=headers, body=body)
    assert response.status == status
    if status == 200:
        assert response.body == body


def test_broken_bodies_pass_in_detection(make: Make) -> None:
    lb = make("mode = detect")
    response = lb.request("POST", "http://h/a", headers=JSON, body=b"{broken")
    assert response.status == 200
    assert "would refuse: the body is no JSON" in last(lb)["detail"]
    assert counters(lb)["broken"] == 1


def test_head_and_body_add_up(make: Make) -> None:
    lb = make("threshold = 10")
    script = b"q=%3Cbase+href%3D//x%3E"
    assert lb.request("POST", "http://h/a", headers=FORM, body=script).status == 200
    response = lb.request("POST", f"http://h/a?a={ATTACK}", headers=FORM, body=script)
    assert response.status == 403


def raw(lb: LoadBalancerFixture, data: bytes) -> Any:
    """A client that has sent ``data``."""
    client = lb.connect("web")
    client.send(data)
    return client


@pytest.mark.parametrize(
    ("more", "body", "status"),
    [
        (b"Content-Type: image/png\r\n", b"q=1", 400),
        (b"Content-Type: application/x-www-form-urlencoded\r\n", b"q=1", 200),
        (
            b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n",
            gzip.compress(b"q=%27+or+1%3D1--", mtime=0),
            403,
        ),
    ],
)
def test_headers_of_a_body_that_come_twice(
    make: Make, more: bytes, body: bytes, status: int
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    size = b"Content-Length: %d\r\n" % len(body)
    client = raw(make(), head + more + size + b"\r\n" + body)
    assert client.received.startswith(b"HTTP/1.1 %d " % status)


def test_an_audit_log_needs_a_folder(make: Make, tmp_path: Path) -> None:
    for path, why in ((tmp_path, "is a folder"), (tmp_path / "x" / "y", "there is no folder")):
        with pytest.raises(ConfigErrors, match=f"audit: .*{why}"):
            make(f"audit = {path}")


def test_an_audit_log_that_nobody_reads_delays_nothing(make: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    lb = make(f"audit = {tmp_path}/pipe")
    assert lb.get(f"http://h/a?q={ATTACK}").status == 403


def test_own_functions_see_the_query_of_a_request_with_a_body(make: Make, tmp_path: Path) -> None:
    text = "def both(request):\n    return request.values('ARGS:q') == [b'1', b'2']\n"
    (tmp_path / "own.py").write_text(text)
    lb = make(f"own = {tmp_path}/own.py:both")
    assert lb.request("POST", "http://h/?q=1", headers=FORM, body=b"q=2").status == 403


def test_own_functions_must_not_be_coroutines(make: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("async def late(request):\n    return False\n")
    with pytest.raises(ConfigErrors, match="late is 'async'"):
        make(f"own = {tmp_path}/own.py:late")


def test_own_functions_judge_an_empty_chunked_body(make: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def never(request):\n    return request.body == b''\n")
    lb = make(f"own = {tmp_path}/own.py:never\naudit = {tmp_path}/audit.log")
    client = raw(lb, CHUNKED + b"0\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 403 ")
    assert json.loads((tmp_path / "audit.log").read_text())["action"] == "blocked"


def test_a_body_in_pieces_is_held(make: Make) -> None:
    lb = make()
    client = raw(lb, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
    origin = lb.origins["a"]
    assert origin.requests == []
    client.send(b"world")
    assert b"HTTP/1.1 200" in client.received
    assert origin.requests[0].body == b"helloworld"


def test_a_long_body_is_judged_by_its_beginning(make: Make) -> None:
    lb = make("body_limit = 1k")
    body = b"a" * 5000 + b"<script>alert(1)"
    response = lb.request("POST", "http://h/", headers={"Content-Type": "text/plain"}, body=body)
    assert (response.status, response.body) == (200, body)
    assert counters(lb)["over_limit"] == 1
    body = b"<script>alert(1)" + b"a" * 5000
    response = lb.request("POST", "http://h/", headers={"Content-Type": "text/plain"}, body=body)
    assert response.status == 403


def test_a_long_body_may_be_refused(make: Make) -> None:
    lb = make("body_limit = 1k\nover_limit = reject")
    response = lb.request("POST", "http://h/", headers=FORM, body=b"a" * 1025)
    assert (response.status, last(lb)["close"]) == (413, "body_too_large")
    assert lb.request("POST", "http://h/", headers=FORM, body=b"a" * 1024).status == 200


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_chunked_bodies(make: Make) -> None:
    lb = make("body_limit = 1k\nover_limit = reject")
    client = raw(lb, CHUNKED + b"5\r\nhello\r\n")
    client.send(b"0\r\n\r\n")
    assert b"HTTP/1.1 200" in client.received
    client = raw(lb, CHUNKED + b"400\r\n" + b"a" * 1024 + b"\r\n")
    client.send(b"1\r\na\r\n0\r\n\r\n")
    assert b" 413 " in client.received


def test_a_client_that_waits_for_100_gets_it(make: Make) -> None:
    lb = make()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    client = raw(lb, head)
    assert client.received.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert lb.origins["a"].requests == []
    client.send(b"hello")
    assert client.received.count(b"100 Continue") == 1
    assert b"HTTP/1.1 200" in client.received


def test_an_attack_in_the_head_is_refused_before_the_body(make: Make) -> None:
    lb = make()
    client = raw(
        lb,
        b"POST /?a=%27%20or%201%3D1-- HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
        b"Expect: 100-continue\r\n\r\n",
    )
    assert client.received.startswith(b"HTTP/1.1 403 ")


def test_a_client_that_leaves_while_its_body_is_held(make: Make) -> None:
    lb = make()
    client = raw(lb, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
    client.close()
    assert last(lb)["close"] == "client_gone"
    assert lb.origins["a"].requests == []


def test_exclusions(make: Make) -> None:
    lb = make("exclude =\n    942000-942999 ARGS:q if path /search\n    941100 HEADERS")
    assert lb.get(f"http://h/search?q={ATTACK}").status == 200
    assert lb.get(f"http://h/search?x={ATTACK}").status == 403
    assert lb.get(f"http://h/other?q={ATTACK}").status == 403
    assert lb.get("http://h/", headers={"Referer": "<script src=x>"}).status == 200


def test_routes_choose(make: Make) -> None:
    lb = make(frontend="routes =\n    path /free/* -> app waf=none")
    assert lb.get(f"http://h/free/a?q={ATTACK}").status == 200
    assert lb.get(f"http://h/a?q={ATTACK}").status == 403


def test_functions_of_the_operator(make: Make, tmp_path: Any) -> None:
    file = tmp_path / "rules.py"
    file.write_text(
        "def tenant(request):\n"
        "    return request.values('ARGS:t') == [b'evil'] and 'wrong tenant'\n"
        "def size(request):\n"
        "    return len(request.body) == 3\n"
        "def bad(request):\n"
        "    raise KeyError\n"
    )
    lb = make(f"own =\n    {file}:bad\n    {file}:tenant\n    {file}:size")
    assert lb.get("http://h/?t=good").status == 200
    assert lb.get("http://h/?t=evil").status == 403
    assert "999002 wrong tenant in REQUEST" in last(lb)["detail"]
    assert lb.request("POST", "http://h/", headers=FORM, body=b"abc").status == 403
    assert lb.request("POST", "http://h/", headers=FORM, body=b"t=evil").status == 403
    assert lb.request("POST", "http://h/", headers=FORM, body=b"abcd").status == 200


@pytest.mark.parametrize(
    ("waf", "frontend", "words"),
    [
        ("exclude = 5", "", "there is no rule 5"),
        ("exclude = ARGS:q", "", "write ID"),
        ("exclude = 942100 ARGZ:q", "", "unknown part 'ARGZ:q'"),
        ("own = nothing", "", "is not FILE.py:FUNCTION"),
        ("mode = off", "", "mode"),
        ("", "routes =\n    path /a -> app waf=other", "there is no [waf other]"),
    ],
)
def test_mistakes(make: Make, waf: str, frontend: str, words: str) -> None:
    with pytest.raises((ConfigErrors, ValueError)) as caught:
        make(waf, frontend)
    assert words in str(caught.value)


def test_a_reload_keeps_counts_and_takes_the_new_section(make: Make) -> None:
    lb = make()
    lb.get(f"http://h/?q={ATTACK}")
    assert lb.service.reload(TEXT.format(waf="mode = detect", frontend="")).ok
    assert lb.get(f"http://h/?q={ATTACK}").status == 200
    assert (counters(lb)["blocked"], counters(lb)["detected"]) == (1, 1)


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    """A part of multipart."""
    head = b'--X\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n' % (name, more)
    return head + value + b"\r\n"


FILE = b'; filename="f"'
WRONG = part(b"q", b"' or 1=1-- ")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (part(b"q", b"hello") + b"--X--\r\n", 200),
        (b"preamble\r\n" + part(b"q", b"hello") + b"--X--", 200),
        (part(b"a", b"foo--X--") + WRONG + b"--X--\r\n", 403),
        (part(b"a", b"foo--X--") + b"--X--\r\n", 200),
        (part(b"a", b"foo") + b"--X--\r\n" + WRONG + b"--X--\r\n", 400),
        (part(b"a", b"foo") + b"--X--\r\n' or 1=1-- ", 400),
        (part(b"a", b"v") * 199 + part(b"f", b"\0", FILE) + WRONG + b"--X--\r\n", 403),
        (part(b"a", b"v") * 300 + b"--X--\r\n", 200),
        (WRONG.replace(b"\r\n", b"\n") + b"--X--\n", 403),
    ],
)
def test_the_boundary_of_multipart_is_where_servers_see_it(
    make: Make, body: bytes, status: int
) -> None:
    lb = make()
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    assert lb.request("POST", "http://h/a", headers=headers, body=body).status == status


def test_detect_refuses_no_body_for_its_length(make: Make) -> None:
    lb = make("mode = detect\nbody_limit = 1k\nover_limit = reject")
    response = lb.request("POST", "http://h/a", headers=FORM, body=b"a=" + b"x" * 3000)
    assert (response.status, len(response.body)) == (200, 3002)
    assert counters(lb)["over_limit"] == 1
