"""``[track NAME]``: counts per key, in conditions, bans and filters, on the virtual clock."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.decide.explain import explain_http
from lbproxy.registry import parse_config
from lbproxy.sharing.local import LocalShared
from lbproxy.testing import LB

CLIENT = "203.0.113.9"


def web(track: str = "count = errors", frontend: str = "", routes: str = "") -> str:
    return f"""
[track bad]
window = 10m
{track}
[frontend web]
listen = tcp:80
{frontend}
routes =
    {routes or "track bad > 2 -> reply 403 enough"}
    path /ok -> reply 200 ok
    default -> reply 404 none
"""


def ask(lb: Any, path: str = "/none", *headers: str, client: str = CLIENT) -> int:
    made = lb.connect("web", client=client)
    made.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())
    return int(made.received[9:12] or 0)


def value(lb: Any, key: str = CLIENT) -> float:
    track = lb.service.frontend("web").features["tracks"].tracks["bad"]
    return float(track.count(track.written(key)))


def test_errors_of_a_client_lead_to_another_route() -> None:
    with LB.from_config(web()) as lb:
        assert [ask(lb) for _ in range(4)] == [404, 404, 404, 403]
        assert ask(lb, "/ok") == 403
        assert ask(lb, "/ok", client="203.0.113.10") == 200
        lb.advance(700)
        assert ask(lb, "/ok") == 200, "after the window"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("bad > 1", [404, 404, 403]),
        ("bad >= 1", [404, 403, 403]),
        ("bad = 1", [404, 403, 404]),
        ("bad < 1", [403, 404, 404]),
        ("bad <= 1", [403, 403, 404]),
        ("bad>1", [404, 404, 403]),
        ('"bad" ">" 1', [404, 404, 403]),
    ],
)
def test_comparisons(condition: str, found: list[int]) -> None:
    text = web("count = own", routes=f"track {condition} -> reply 403 no")
    with LB.from_config(text) as lb:
        statuses = []
        track = lb.service.frontend("web").features["tracks"].tracks["bad"]
        for _ in range(3):
            statuses.append(ask(lb))
            track.set(CLIENT, track.count(CLIENT) + 1)
        assert statuses == found


@pytest.mark.parametrize(
    ("count", "path", "headers", "each"),
    [
        ("requests", "/ok", (), 1),
        ("errors", "/ok", (), 0),
        ("errors", "/none", (), 1),
        ("glitches", "/none", ("Content-Length: x",), 1),
        ("glitches", "/none", (), 0),
        ("connections", "/ok", (), 1),
        ("bytes", "/ok", (), 2),
        ("own", "/none", (), 0),
    ],
)
def test_what_is_counted(count: str, path: str, headers: tuple[str, ...], each: int) -> None:
    with LB.from_config(web(f"count = {count}", routes="track bad > 99 -> reply 403 no")) as lb:
        for _ in range(3):
            ask(lb, path, *headers)
        assert value(lb) == 3 * each


def test_only_where_the_conditions_hold_and_by_any_key() -> None:
    text = web("key = {header:X-User}", frontend="tracks = bad if path /login")
    with LB.from_config(text) as lb:
        for _ in range(5):
            ask(lb, "/none", "X-User: ann")
            ask(lb, "/login", "X-User: bob")
            ask(lb, "/login")
        assert (value(lb, "ann"), value(lb, "bob")) == (0, 5)
        assert ask(lb, "/ok", "X-User: bob") == 403
        assert ask(lb, "/ok", "X-User: ann") == 200


def test_limits_and_filters_ask_a_track(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from lbproxy.http.filter import Filter\n"
        "class Login(Filter):\n"
        "    def request(self, traffic):\n"
        "        traffic.track('bad', 2)\n"
        "class Wrong(Filter):\n"
        "    def request(self, traffic):\n"
        "        traffic.track('none')\n"
    )
    text = web(
        "count = own",
        frontend=f"limits = few if track bad > 2\nfilters = {tmp_path}/own.py:Login if path /login",
        routes="path /login -> app",
    )
    text += "[limit few]\nrate = 1/1h\n[backend app]\nservers = a 10.0.0.1:80\n"
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert [ask(lb, "/ok") for _ in range(3)] == [200] * 3
        assert [ask(lb, "/login") for _ in range(3)] == [200, 200, 200]
        assert value(lb) == 6
        assert ask(lb, "/ok") == 429
    with LB.from_config(text.replace("Login if", "Wrong if")) as lb:
        lb.origin("a", "10.0.0.1:80")
        assert ask(lb, "/login") == 500
    sys.modules.pop("own", None)


def test_a_ban_by_a_track() -> None:
    text = web(
        "key = {path}",
        frontend="bans = rude\ntracks = bad if path /trap",
        routes="path /x -> reply 404 x",
    )
    text += "[ban rude]\nafter = 2/1m\non = track:bad\ntime = 1m\n"
    with LB.from_config(text) as lb:
        assert [ask(lb, "/other") for _ in range(3)] == [404] * 3
        assert [ask(lb, "/trap") for _ in range(2)] == [404] * 2
        assert ask(lb, "/ok") == 0
        assert ask(lb, "/ok", client="203.0.113.10") == 200


def test_processes_share_the_counts() -> None:
    shared = LocalShared()
    with LB.from_config(web(), shared=shared) as one, LB.from_config(web(), shared=shared) as two:
        assert [ask(one), ask(two), ask(one), ask(two)] == [404, 404, 404, 403]


def test_a_reload_keeps_the_counts() -> None:
    with LB.from_config(web()) as lb:
        for _ in range(3):
            ask(lb)
        assert lb.service.reload(web(routes="track bad > 1 -> reply 410 gone")).ok
        assert ask(lb) == 410


def test_long_keys_count_and_are_not_remembered_by_name() -> None:
    with LB.from_config(web("count = requests\nkey = {header:X-Key}")) as lb:
        long = "k" * 1001
        assert [ask(lb, "/ok", f"X-Key: {long}") for _ in range(3)] == [200, 200, 403]
        assert ask(lb, "/ok", "X-Key: short") == 200
        track = lb.service.frontend("web").features["tracks"].tracks["bad"]
        assert list(track.names) == ["short"] and track.count(long) == 3


def test_a_reload_sees_that_a_track_does_not_fit() -> None:
    text = """
[track bad]
count = {count}
[frontend db]
mode = tcp
listen = tcp:5432
tracks = bad
backend = pg
[backend pg]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text.format(count="requests")) as lb:
        report = lb.service.reload(text.format(count="errors"))
        assert not report.ok and "needs mode = http" in report.summary()


def test_tcp() -> None:
    text = """
[track calls]
count = connections
[frontend db]
mode = tcp
listen = tcp:5432
limits = none-more if track calls > 2
backend = pg
[limit none-more]
rate = 1/1h
unit = connections
[backend pg]
servers = a 10.0.0.1:80
"""
    with LB.from_config(text) as lb:
        lb.tcp_origin("a", "10.0.0.1:80", "echo")
        assert [lb.connect("db").finished for _ in range(6)] == [False] * 4 + [True] * 2


def test_explain_and_the_words_that_are_written_back() -> None:
    text = web("count = own\nkey = {path}\nprefix = 24 48", frontend="tracks = bad if method POST")
    config = parse_config(text)
    assert parse_config(dump(config)) == config
    assert "200" in explain_http(config, "GET", "http://h/ok", [], CLIENT).action


@pytest.mark.parametrize(
    ("track", "frontend", "routes", "words"),
    [
        ("count = all", "", "", "all"),
        ("key = {nothing}", "", "", "nothing"),
        ("key = {path}\ncount = connections", "", "", "{path} is not known when a connection"),
        ("", "tracks = none", "", "there is no track 'none'"),
        ("", "", "track none > 1 -> reply 403 no", "there is no track 'none'"),
        ("", "", "track bad -> reply 403 no", "write NAME > NUMBER"),
        ("", "", "track bad > many -> reply 403 no", "write NAME > NUMBER"),
        ("", "", "track bad > 1 2 -> reply 403 no", "write NAME > NUMBER"),
    ],
)
def test_mistakes(track: str, frontend: str, routes: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(web(track, frontend, routes))
    assert words in str(caught.value)
