"""The screen of ``lbproxy top`` and its keys, without a terminal."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rich")

from rich.console import Console

from lbproxy.cli.top import LARGE, add_large, keys, top
from lbproxy.cli.topview import TopView
from lbproxy.observe.metrics import BUCKETS

COUNTS = {"counts": [0] * (len(BUCKETS) + 1), "total": 0.0}


def server(n: int, state: str = "up", **facts: Any) -> dict[str, Any]:
    return {
        "backend": "app", "name": f"s{n}", "state": state, "weight": n, "active": 0,
        "picked": 10 * n, "failed": 0,
        "downs": 0, "bytes_out": 0, "address": f"10.0.0.{n}:80", "note": "", **facts,
    }  # fmt: skip


def state(at: float = 10.0, count: int = 30, **more: Any) -> dict[str, Any]:
    servers = {f"app/s{n}": server(n, "down" if n == 7 else "up") for n in range(count)}
    return {
        "at": at,
        "process": {
            "started": 1.0, "version": "1.2", "config": "lb.ini", "bounds": list(BUCKETS),
            "connections": 5,
            "lag_s": 0.001, "resident_bytes": 50_000_000,
        },
        "frontends": {"web": {
            "name": "web", "mode": "http", "active_connections": 3,
            "responses": {"2xx": int(at * 100), "5xx": 4},
            "closes": {}, "refused": 0, "bytes_out": 0, "listen": ["127.0.0.1:80"],
            "request_seconds": COUNTS,
        }},
        "backends": {"app": {
            "name": "app", "mode": "http", "up": count - 1, "servers": count, "active": 0,
            "waiting": 2, "retries": 0,
            "queue_full": 1, "queue_timeouts": 0, "no_server": 0, "balance": "roundrobin",
            "response_seconds": COUNTS,
        }},
        "servers": servers, "alerts": {"firing": {}}, **more,
    }  # fmt: skip


def view(*states: dict[str, Any]) -> TopView:
    made = TopView()
    for one in states or (state(10.0), state(11.0)):
        made.news(one)
    return made


def screen(made: TopView, width: int = 140, height: int = 20) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(made.screen(width, height))
    lines = captured.get().splitlines()
    assert len(lines) <= height and all(len(line) <= width for line in lines)
    return lines


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith("app/")]


def test_the_whole() -> None:
    lines = screen(view())
    assert lines[0].startswith("lbproxy 1.2  lb.ini  up 10s")
    assert lines[1].startswith(
        "100 req/s  0.00% failed  p50 - p95 - p99 -  servers 29/30  conns 5  waiting 2"
    )
    assert names(lines) == [f"app/s{n}" for n in range(15)]
    assert "servers 1-15 of 30" in lines[-1]
    assert next(line for line in lines if line.startswith("app/s7")).split()[1:3] == ["▼", "down"]


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 8), (80, 24), (300, 100)])
def test_it_fits_every_terminal(width: int, height: int) -> None:
    for kind in "123":
        made = view()
        made.press(kind)
        screen(made, width, height)


def test_a_narrow_terminal_shows_fewer_columns_and_whole_names() -> None:
    lines = screen(view(), 60, 12)
    assert names(lines)[0] == "app/s0"
    head = next(line for line in lines if line.startswith("server"))
    assert "state" in head and "req/s" in head and "last check" not in head


def test_scrolling_stays_within_the_rows() -> None:
    made = view()
    screen(made)
    for key, first in (
        ("down", 1),
        ("pagedown", 15),
        ("pagedown", 15),
        ("up", 14),
        ("home", 0),
        ("end", 15),
        ("k", 14),
    ):
        made.press(key)
        assert names(screen(made))[0] == f"app/s{first}", key


def test_sorting() -> None:
    made = view()
    made.press("s")
    assert names(screen(made))[0] == "app/s0"
    made.press("s")
    assert names(screen(made))[0] == "app/s7", "down comes first"
    made.press("s")
    assert names(screen(made))[0] == "app/s29", "the largest weight first"
    made.press("r")
    assert names(screen(made))[0] == "app/s0"


def test_filter() -> None:
    made = view()
    for key in ["/", *"s2q"]:
        made.press(key)
    assert not made.over and "filter: s2q_" in screen(made)[-1]
    made.press("backspace")
    made.press("enter")
    assert names(screen(made)) == ["app/s2", *(f"app/s2{n}" for n in range(10))]
    made.press("escape")
    assert len(names(screen(made))) == 15
    for key in ["/", *"down", "enter"]:
        made.press(key)
    assert names(screen(made)) == ["app/s7"]
    for key in ["/", *"nothing", "enter"]:
        made.press(key)
    assert "of 0" in screen(made)[-1]


def test_other_tables_pause_help_and_quit() -> None:
    made = view()
    made.press("tab")
    assert any(line.startswith("app ") and "roundrobin" in line for line in screen(made))
    made.press("3")
    assert any(line.startswith("web ") and "127.0.0.1:80" in line for line in screen(made))
    made.press("?")
    lines = screen(made)
    assert "q quit" in lines[-1] and any("page up" in line for line in lines)
    assert len(screen(made, 80, 24)) <= 24
    made.press("?")
    made.press("p")
    made.news(state(60.0))
    assert made.recent.now["at"] == 11.0 and " paused " in screen(made)[0]
    made.press("q")
    assert made.over


def test_alerts_and_trouble() -> None:
    firing = {
        str(n): {"name": "queue", "text": f"number {n}", "severity": "error"} for n in range(5)
    }
    made = view(state(alerts={"firing": firing}))
    lines = screen(made)
    assert lines[2] == "! queue: number 0" and lines[5] == "! and 2 more alerts"
    made.trouble = "no connection: Connection refused"
    assert "no connection: Connection refused" in screen(made)[0]
    assert screen(TopView())[0].startswith("connecting")


def test_servers_that_the_state_leaves_out_are_counted() -> None:
    one = state(count=3)
    one["backends"]["app"]["servers"] = 5003
    assert "5,000 in large backends are omitted" in screen(view(one))[-1]


def test_servers_of_large_backends_are_asked_for() -> None:
    """Those that are down first, at most so many, and none of backends that the state has."""
    asked: list[dict[str, Any]] = []

    def get_all(path: str, most: int, **query: Any) -> list[dict[str, Any]]:
        asked.append(query)
        first = 0 if "state" in query else 100
        rows = [server(n, backend="big") for n in range(first, first + most)]
        return rows[:50] if "state" in query else rows

    one = state(count=3)
    one["backends"]["big"] = {**one["backends"]["app"], "name": "big", "servers": 5000}
    add_large(SimpleNamespace(all=get_all), one)  # type: ignore[arg-type]
    assert [(query["backend"], query.get("state")) for query in asked] == [
        ("big", "down"),
        ("big", None),
    ]
    assert len(one["servers"]) == 3 + LARGE
    made = view(one)
    assert "big/s0" in "\n".join(screen(made))
    assert "3,000 in large backends are omitted" in screen(made)[-1]


def test_keys() -> None:
    assert keys("q\x1b[A\x1b[6~\tx\r\x7f\x1b") == [
        "q", "up", "pagedown", "tab", "x", "enter", "backspace", "escape",
    ]  # fmt: skip


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setitem(sys.modules, "lbproxy.cli.topview", None)
    where = {"admin": "127.0.0.1:9", "config": None, "token_file": None}
    with pytest.raises(SystemExit):
        top.callback(**where, ca="", certificate="", every=1.0)
    assert "pip install rich" in capsys.readouterr().err
