"""Which records a log has: conditions and empty connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import MASK, as_json, dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.logs.several import SeveralLogs
from lbproxy.registry import parse_config
from lbproxy.testing import LoadBalancerFixture

TEXT = """\
[frontend web]
mode = {mode}
listen = tcp:8080
backend = app
{lines}
access_log = {log}
[backend app]
mode = {mode}
servers = a 10.0.0.1:80
"""


def text(log: str, mode: str = "http", lines: str = "") -> str:
    """A configuration."""
    return TEXT.format(log=log, mode=mode, lines=lines)


def records(path: Path) -> list[dict[str, Any]]:
    """What the log has."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("path /a/*", ["/a/1"]),
        ("not path /a/*", ["/b", "/c/%2e%2e%2fd"]),
        ("status 4xx", ["/c/%2e%2e%2fd"]),
        ("status 200", ["/a/1", "/b"]),
        ("method POST", []),
        ("client 10.0.0.0/8", []),
        ("scheme http host x", ["/a/1", "/b", "/c/%2e%2e%2fd"]),
    ],
)
def test_conditions(tmp_path: Path, condition: str, paths: list[str]) -> None:
    path = tmp_path / "access.log"
    with LoadBalancerFixture.from_config(
        text(f"{path} json if {condition}", lines="routes = path /c/* -> app"), sinks=None
    ) as lb:
        lb.origin("a", "10.0.0.1:80")
        for target in ("/a/1", "/b", "/c/%2e%2e%2fd"):
            client = lb.connect("127.0.0.1:8080")
            client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            lb.advance(0.5)
    found = [one["target"] for one in records(path)]
    if condition == "path /a/*":
        found.remove("/c/%2e%2e%2fd")  # ambiguous
    assert found == paths


def test_a_refused_connection_matches_no_request(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for condition, count in (("path /*", 0), ("client 0.0.0.0/0", 1), ("not method GET", 1)):
        path.unlink(missing_ok=True)
        config = text(f"{path} json if {condition}", lines="deny = 0.0.0.0/0")
        with LoadBalancerFixture.from_config(config, sinks=None) as lb:
            lb.connect("127.0.0.1:8080")
        assert len(records(path)) == count, condition


@pytest.mark.parametrize(("option", "count"), [("", 2), (" skip_empty=yes", 1)])
def test_connections_without_data(tmp_path: Path, option: str, count: int) -> None:
    path = tmp_path / "access.log"
    with LoadBalancerFixture.from_config(text(f"{path} json{option}", "tcp"), sinks=None) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", lambda data: data)
        lb.connect("127.0.0.1:8080").close()
        lb.advance(1)
        client = lb.connect("127.0.0.1:8080")
        client.send(b"x")
        client.close()
        lb.advance(1)
    assert len(records(path)) == count
    assert records(path)[-1]["bytes_in"] == 1


def test_a_failed_connection_is_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with LoadBalancerFixture.from_config(
        text(f"{path} json skip_empty=yes", "tcp"), sinks=None
    ) as lb:
        lb.connect("127.0.0.1:8080")
        lb.advance(30)
    assert [one["close"] for one in records(path)] == ["connect_failed"]


def test_a_reload_changes_the_conditions(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with LoadBalancerFixture.from_config(text(f"{path} json if path /a"), sinks=None) as lb:
        lb.origin("a", "10.0.0.1:80")
        sinks = lb.service.log_sinks()
        assert lb.service.reload(text(f"{path} json if path /b")).ok
        assert lb.service.log_sinks() == sinks
        lb.get("http://x/a", frontend="web")
        lb.get("http://x/b", frontend="web")
        lb.advance(1)
    assert [one["target"] for one in records(path)] == ["/b"]


def test_the_line_is_written_as_it_was_read() -> None:
    config = parse_config(
        text("/l json skip_empty=yes if header Authorization Bearer-SECRET not path /x")
    )
    assert "skip_empty=yes if header Authorization Bearer-SECRET not path /x" in dump(config)
    assert parse_config(dump(config)) == config
    shown = json.dumps(as_json(config, mask=True))
    assert "SECRET" not in shown and MASK in shown


@pytest.mark.parametrize(
    ("log", "mode", "wrong"),
    [
        ("/l json if pth /x", "http", "write PATH, stdout"),
        ("/l if status 9xx", "http", "neither a status"),
        ("/l if path /x", "tcp", "needs mode = http"),
    ],
)
def test_mistakes(log: str, mode: str, wrong: str) -> None:
    with pytest.raises(ConfigErrors, match=wrong):
        parse_config(text(log, mode))


@pytest.mark.parametrize(("option", "length"), [("", 0), (" request_ids=yes", 32)])
def test_unique_ids(tmp_path: Path, option: str, length: int) -> None:
    path = tmp_path / "access.log"
    with LoadBalancerFixture.from_config(text(f"{path} json{option}"), sinks=None) as lb:
        lb.origin("a", "10.0.0.1:80")
        lb.get("http://x/1", frontend="web")
        lb.get("http://x/2", frontend="web")
        lb.advance(1)
    ids = [one["request_id"] for one in records(path)]
    assert [len(one) for one in ids] == [length] * 2
    assert len(set(ids)) == (2 if length else 1)


MORE = """\
more_logs =
    {folder}/errors.log json if status 5xx
    {folder}/lines.log '%{{status}} %{{target}}'
"""


def test_several_logs(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    config = text(str(path), lines=MORE.format(folder=tmp_path))
    with LoadBalancerFixture.from_config(config, sinks=None) as lb:
        origin = lb.origin("a", "10.0.0.1:80")
        lb.get("http://x/good", frontend="web")
        origin.stop()
        lb.get("http://x/bad", frontend="web")
        lb.advance(1)
        frontend = lb.service.frontends["web"]
        assert lb.service.reload(config).ok
        assert lb.service.frontends["web"] is frontend, "nothing has changed"
    assert [one["status"] for one in records(path)] == [200, 502]
    assert [one["status"] for one in records(tmp_path / "errors.log")] == [502]
    assert (tmp_path / "lines.log").read_text() == "200 /good\n502 /bad\n"


def test_further_logs_are_inherited_or_off(tmp_path: Path) -> None:
    for lines, count in (("", 1), ("more_logs = off", 0), (f"more_logs = {tmp_path}/own", 0)):
        path = tmp_path / "common"
        path.unlink(missing_ok=True)
        config = f"[lbproxy]\nmore_logs = {path}\n" + text("off", lines=lines)
        with LoadBalancerFixture.from_config(config, sinks=None) as lb:
            lb.get("http://x/", frontend="web")
            lb.advance(1)
        assert (len(records(path)) if path.exists() else 0) == count, lines
    assert len(records(tmp_path / "own")) == 1


def test_a_log_that_fails_does_not_stop_the_others() -> None:
    written: list[Any] = []

    def fails(record: Any) -> None:
        raise OSError("full")

    several = SeveralLogs((fails, written.append))
    with pytest.raises(OSError, match="full"):
        several("record")
    assert written == ["record"]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("more_logs =\n    /l json\n    /m jsn", "more_logs: unknown log format 'jsn'"),
        ("more_logs = /l json keep=3", "more_logs: option 'keep' has no effect"),
        ("more_logs = /l combined if sni x", ""),
        ("more_logs = /a rotate_size=1m", "rotate_size differs from that at"),
    ],
)
def test_mistakes_in_further_logs(lines: str, wrong: str) -> None:
    config = text("/a json", lines=lines)
    if not wrong:
        parse_config(config)
        return
    with pytest.raises(ConfigErrors, match=wrong):
        parse_config(config)
