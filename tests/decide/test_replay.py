"""Logged requests through two configurations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cli import main
from lbproxy.decide.decider import Decider
from lbproxy.decide.logline import LoggedRequest, read_line
from lbproxy.decide.replay import replay
from lbproxy.observe.accesslog import compile_format
from lbproxy.registry import parse_config
from tests.observe.records import TCPTraffic, Traffic

OLD = """\
[frontend web]
listen =
    tcp:8080
    tcp:8443
routes =
    host old.example.com -> redirect 301 https://new.example.com{uri}
    path /static/*       -> static
    default              -> app
deny = 198.51.100.0/24

[frontend db]
mode = tcp
listen = tcp:5432
routes =
    sni *.db.example -> pg

[backend static]
balance = hash path
servers =
    s1 10.0.0.11:80
    s2 10.0.0.12:80
    s3 10.0.0.13:80

[backend app]
filters = set-header request X-A 1
servers =
    a 10.0.0.21:80
    b 10.0.0.22:80

[backend pg]
servers = db1 10.0.0.31:5432
"""


def line(**facts: Any) -> str:
    known = {
        "mode": "http", "frontend": "web", "local_port": 8080, "method": "GET",
        "host": "www.example.com",
        "target": "/", "peer_ip": "192.0.2.1", "client_ip": "192.0.2.1", "backend": "", **facts,
    }  # fmt: skip
    return json.dumps(known)


def changes(new: str, *lines: str, old: str = OLD, **options: Any) -> list[dict[str, Any]]:
    result = replay(lines, parse_config(old), parse_config(new), **options)
    return [dict(one.fields) for one in result.differences]


def test_nothing_changes_by_what_nobody_decides_on() -> None:
    assert changes(OLD.replace("[backend app]", "[backend app]\nretries = 9"), line()) == []


POOL = "roundrobin; a 10.0.0.21:80; b 10.0.0.22:80"
SESSION = line(mode="tcp", frontend="db", local_port=5432, sni="a.db.example")
CHANGES: list[tuple[str, str, str, dict[str, tuple[str, str]]]] = [
    ("path /static/* ", "path /static/* /img/* ", line(target="/img/a.png"), {
        "route": ("default -> app", "path /static/* /img/* -> static"),
        "backend": ("app", "static"),
        "filters": ("set-header request X-A 1", ""),
    }),
    ("deny = 198.51.100.0/24", "deny = 192.0.2.0/24", line(), {
        "answer": ("", "denied"), "route": ("default -> app", ""), "backend": ("app", ""),
        "filters": ("set-header request X-A 1", ""),
    }),
    ("deny = 198.51.100.0/24", "deny = 198.51.100.0/24\nmax_url = 64",
        line(target="/" + "x" * 100), {
        "answer": ("", "414 "), "route": ("default -> app", ""), "backend": ("app", ""),
        "filters": ("set-header request X-A 1", ""),
    }),
    ("https://new.", "https://newer.", line(host="old.example.com", target="/x?y"), {
        "answer": ("301 https://new.example.com/x?y", "301 https://newer.example.com/x?y"),
        "route": ("host old.example.com -> redirect 301 https://new.example.com{uri}",
                  "host old.example.com -> redirect 301 https://newer.example.com{uri}"),
    }),
    ("X-A 1", "X-A 2", line(),
        {"filters": ("set-header request X-A 1", "set-header request X-A 2")}),
    ("b 10.0.0.22:80", "b 10.0.0.22:80 weight=3", line(), {
        "servers": (POOL, POOL + " weight=3"),
    }),
    ("tcp:8443", "tcp:8444", line(local_port=8443), {}),
    ("listen = tcp:5432", "listen = tcp:5433", SESSION, {}),
    ("path /static/* ", "path /static/* /img/* ", line(target="/static/1"), {}),
    ("*.db.example", "*.other", SESSION, {
        "answer": ("", "closed: no route"), "route": ("sni *.db.example -> pg", ""),
        "backend": ("pg", ""),
    }),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "request_line", "expected"), CHANGES)
def test_what_changes(before: str, after: str, request_line: str, expected: dict[str, Any]) -> None:
    assert before in OLD
    found = changes(OLD.replace(before, after), request_line)
    if not expected:
        assert found == []
        return
    (one,) = found
    for name, (old, new) in expected.items():
        assert one[name][0] == old and one[name][1].startswith(new), name
    assert set(one) == set(expected)


def test_the_pick_of_a_hash_is_compared() -> None:
    new = OLD.replace("    s3 10.0.0.13:80\n", "    s3 10.0.0.13:80\n    s4 10.0.0.14:80\n")
    lines = [line(target=f"/static/{n}") for n in range(1000)]
    result = replay(lines, parse_config(OLD), parse_config(new))
    moved = [one for one in result.differences if "server" in one.fields]
    assert all(one.fields["server"][1] == "s4" for one in moved), "consistent: only to the new one"
    assert 150 < sum(one.count for one in moved) < 350


def test_challenge_and_shedding_are_compared() -> None:
    keys = "challenge = on\nchallenge_except = path /api/*\nshed = lag 50ms"
    new = OLD.replace("deny = 198.51.100.0/24", keys)
    page = ("", "on: 403 with a text unless it has a pass")
    api = ("", "on: not here (challenge_except)")
    bot = ("", "on: passes if DNS confirms that it is a crawler of Google")
    shed = ("", "lag 50ms: beyond it a share of such requests gets 503")
    lines = [
        line(target="/a"),
        line(target="/b"),
        line(target="/api/x"),
        line(user_agent="Googlebot/2.1"),
    ]
    found = changes(new, *lines)
    assert found[0] == {"challenge": page, "shed": shed}
    assert sorted(found[1:], key=str) == sorted(
        [{"challenge": api, "shed": shed}, {"challenge": bot, "shed": shed}], key=str
    )
    result = replay(lines, parse_config(OLD), parse_config(new))
    assert "  challenge - -> on: 403" in result.as_text()
    assert "passes of the challenge" in result.as_text()
    assert changes(new, *lines, old=new) == []


def test_it_decides_as_explain_and_as_the_log_says() -> None:
    decision = Decider(parse_config(OLD)).decide(
        LoggedRequest(port=8080, method="GET", host="x", target="/static/a")
    )
    assert (decision.frontend, decision.backend, decision.route) == (
        "web",
        "static",
        "path /static/* -> static",
    )
    result = replay(
        [line(backend="app"), line(backend="static"), line()], parse_config(OLD), parse_config(OLD)
    )
    assert (result.requests, result.changed, result.surprises) == (3, 0, 1)
    assert "of 1 requests the log has another backend" in result.as_text()


@given(
    st.lists(
        st.builds(
            line,
            target=st.sampled_from(["/", "/static/x", "/a/../b", "/%2e%2e/x", "/static/y?z=1",
                "/é", "/" + "a" * 90]),
            host=st.sampled_from(["old.example.com", "www.example.com", "EXAMPLE.com:80", "",
                "a b"]),
            peer_ip=st.sampled_from(["192.0.2.1", "198.51.100.7", ""]),
            method=st.sampled_from(["GET", "POST", "CONNECT", "B AD"]),
            user_agent=st.sampled_from(["", "curl", "x" * 9000]),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_what_is_remembered_changes_no_decision(lines: list[str]) -> None:
    """One decider for all lines says the same as a fresh one for each."""
    config = parse_config(OLD)
    shared = Decider(config)
    for one in lines:
        request = read_line(one)
        assert request is not None
        assert shared.decide(request) == Decider(config).decide(request)


@pytest.mark.parametrize(
    ("mode", "format", "record"),
    [
        ("http", "json", Traffic()), ("http", "combined", Traffic()), ("http", "common", Traffic()),
        ("tcp", "json", TCPTraffic()),
    ],
)  # fmt: skip
def test_our_own_lines_are_understood(mode: str, format: str, record: Any) -> None:
    text = compile_format(format, mode)(record).decode()
    request = read_line(text)
    assert request is not None and request.mode == mode
    assert request.client_ip == record.client_ip
    if mode == "http":
        assert request.method == record.request.method.decode()
        assert request.target == record.request.target.decode()


def test_lines_of_others() -> None:
    apache = '203.0.113.9 - frank [10/Oct/2026:13:55:36 -0700] "GET /a?b=c HTTP/1.0" 200 2326'
    apache += ' "-" "Mozilla/5.0 (\\x22X\\x22)"'
    request = read_line(apache, host="h.example", frontend="web")
    assert request == LoggedRequest(
        frontend="web", method="GET", host="h.example", target="/a?b=c", peer_ip="203.0.113.9",
        client_ip="203.0.113.9", agent='Mozilla/5.0 ("X")',
    )  # fmt: skip


def test_escaped_bytes_are_text() -> None:
    line = '203.0.113.9 - - [10/Oct/2026:13:55:36 -0700] "GET /caf\\xc3\\xa9 HTTP/1.1" 200 2326'
    request = read_line(line)
    assert request is not None and request.target == "/caf\xe9"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "{", "[]", '{"mode":"http"}', '{"mode":"udp","method":"GET"}', "{}",
     '{"mode":"http","method":"","local_port":1}',
     '{"mode":"http","method":"GET","header_ms":null}',
     '{"mode":"http","method":"GET","local_port":"x"}',
     '1.2.3.4 - - [x] "" 400 0'],
)  # fmt: skip
def test_what_is_no_request(text: str) -> None:
    assert read_line(text) is None


@given(st.text(max_size=80))
def test_no_line_is_too_strange(text: str) -> None:
    request = read_line(text)
    assert request is None or isinstance(Decider(parse_config(OLD)).decide(request).answer, str)


@pytest.mark.parametrize(
    "text", ['{"mode":"http","method":"GET","local_port":1e999}', '{"a":' * 100_000, "[" * 100_000]
)
def test_no_line_is_too_strange_for_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Without orjson."""
    monkeypatch.setattr("lbproxy.decide.logline._loads", json.loads)
    assert read_line(text) is None


def test_what_clients_send_does_not_reach_the_terminal() -> None:
    assert (
        LoggedRequest(target="/\x1b[2J\udcff\n", host="a\x9b", method="GET").text == "GET a?/?[2J??"
    )
    assert len(LoggedRequest(target="/" * 5000).text) == 200


# -- the command --------------------------------------------------------------------------------


def run(tmp_path: Path, log: str, new: str, *more: str, name: str = "access.log") -> Any:
    for file, text in (("a.ini", OLD), ("b.ini", new)):
        (tmp_path / file).write_text(text)
    path = tmp_path / name
    path.write_bytes(gzip.compress(log.encode(), mtime=0) if name.endswith(".gz") else log.encode())
    argv = ["replay", str(path), "--old", str(tmp_path / "a.ini"), "--new", str(tmp_path / "b.ini")]
    return CliRunner().invoke(main, [*argv, *more])


MOVED = OLD.replace("path /static/* ", "path /static/* /img/* ")


@pytest.mark.parametrize("name", ["access.log", "access.log.gz"])
def test_the_command_and_its_status(tmp_path: Path, name: str) -> None:
    log = "\n".join([line(), line(target="/img/1"), line(target="/img/2"), "junk", ""])
    same = run(tmp_path, log, OLD, name=name)
    assert (same.exit_code, same.output) == (
        0, "3 requests, 0 are decided differently (1 lines are no requests)\n",
    )  # fmt: skip
    moved = run(tmp_path, log, MOVED, name=name)
    assert moved.exit_code == 1
    assert moved.output == (
        "3 requests, 2 are decided differently (1 lines are no requests)\n\n2 (66.7%)\n"
        "  route    default -> app -> path /static/* /img/* -> static\n"
        "  backend  app -> static\n  filters  set-header request X-A 1 -> -\n"
        "  e.g. line 2: GET www.example.com/img/1\n  e.g. line 3: GET www.example.com/img/2\n"
    )
    data = json.loads(run(tmp_path, log, MOVED, "--json", name=name).output)
    assert data["changed"] == 2
    assert data["differences"][0]["fields"]["backend"] == {"old": "app", "new": "static"}
    assert data["differences"][0]["examples"][0] == {
        "line": 2,
        "request": "GET www.example.com/img/1",
    }


def test_when_it_cannot_be_said(tmp_path: Path) -> None:
    assert run(tmp_path, "junk\n", OLD).exit_code == 2
    good = run(tmp_path, line(), OLD)
    assert good.exit_code == 0
    argv = ["replay", "--old", str(tmp_path / "a.ini"), "--new", str(tmp_path / "b.ini")]
    missing = CliRunner().invoke(main, [*argv, str(tmp_path / "no.log")])
    assert missing.exit_code == 2 and "No such file" in missing.output
    assert CliRunner().invoke(main, argv).exit_code == 2
    (tmp_path / "b.ini").write_text("[nonsense]\n")
    assert CliRunner().invoke(main, [*argv, str(tmp_path / "access.log")]).exit_code == 2


def test_a_log_that_is_damaged(tmp_path: Path) -> None:
    run(tmp_path, line(), OLD)
    argv = ["replay", "--old", str(tmp_path / "a.ini"), "--new", str(tmp_path / "b.ini")]
    path = tmp_path / "cut.log.gz"
    path.write_bytes(gzip.compress((line() + "\n").encode() * 1000, mtime=0)[:-20])
    found = CliRunner().invoke(main, [*argv, str(path)])
    assert found.exit_code == 2 and "damaged or truncated" in found.output


def test_a_line_without_end_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.cli.logfile.LONGEST", 1000)
    log = "\n".join(
        [line(), "x" * 1000, "y" * 999, line(agent="z" * 5000), line(target="/img/1"), ""]
    )
    found = run(tmp_path, log, MOVED)
    assert "2 requests, 1 are decided differently (3 lines are no requests)" in found.output
    assert "e.g. line 5" in found.output


def test_what_the_log_does_not_tell_is_named(tmp_path: Path) -> None:
    new = OLD.replace(
        "    path /static/*",
        "    cookie beta -> static\n    header X-Debug -> static\n    path /static/*",
    )
    result = run(tmp_path, line(), new)
    assert result.output.endswith(
        "note: not in the log, so taken as absent: cookie beta, header X-Debug\n"
    )
