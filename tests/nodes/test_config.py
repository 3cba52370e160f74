"""``[shared]`` in a configuration: mistakes, secrets, what explain says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.diff import Effect, diff
from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.masking import masked
from lbproxy.config.sections import shared
from lbproxy.decide.explain import explain_http
from lbproxy.decide.posture import open_points
from lbproxy.model import read_redis_url
from lbproxy.registry import parse_config

SECRET = "redis://me:hidden-word@10.0.0.1/2"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "'redis' is missing"),
        ("redis = http://10.0.0.1", "expected redis://"),
        ("redis = redis://", "a host is missing"),
        ("redis = redis://10.0.0.1:0", "a port is not a number"),
        ("redis = redis://10.0.0.1:x", "a port is not a number"),
        ("redis = redis://10.0.0.1/main", "the database is not a number"),
        ("redis = redis://@10.0.0.1", "neither a user nor a password"),
        ("redis = redis://me@10.0.0.1", "a user without a password"),
        ("redis = sentinel://10.0.0.1", "the name of the service is missing"),
        ("redis = unix://host/path", "needs an absolute path"),
        ("redis = redis://10.0.0.1\nca = nowhere.pem", "no such file"),
        ("redis = redis://10.0.0.1\ntimeout = 1h", "timeout"),
        ("redis = redis://10.0.0.1\nport = 7", "port"),
    ],
)
def test_mistakes(lines: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as found:
        parse_config(f"[shared]\n{lines}\n")
    assert message in str(found.value)


def test_the_extra_is_missed_only_where_it_is_used(monkeypatch: Any) -> None:
    monkeypatch.setattr(shared, "find_spec", lambda name: None)
    parse_config("[lbproxy]\n")
    with pytest.raises(ConfigErrors, match=r"pip install lbproxy\[redis\]"):
        parse_config("[shared]\nredis = redis://10.0.0.1\n")


def test_errors_and_views_do_not_show_the_password() -> None:
    config = parse_config(f"[shared]\nredis = {SECRET}\n")
    assert "hidden-word" not in str(masked(config.shared))
    assert "hidden-word" not in str(read_redis_url(SECRET))
    assert "hidden-word" not in repr(read_redis_url(SECRET))
    with pytest.raises(ConfigErrors) as found:
        parse_config("[shared]\nredis = redis://me:hidden-word@10.0.0.1/x\n")
    assert "hidden-word" not in str(found.value)


def test_what_is_written_is_read_again() -> None:
    config = parse_config(f"[shared]\nredis = {SECRET}\ntimeout = 50ms\nprefix = site-a\n")
    again = parse_config(dump(config))
    assert again.shared == config.shared
    assert again.shared.on


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("redis://10.0.0.1", "redis://10.0.0.1:6379/0", ("", "")),
        ("rediss://u:p%2F%40@[::1]:1/3", "rediss://[::1]:1/3", ("u", "p/@")),
        ("unix:///run/redis.sock?db=2", "unix:/run/redis.sock", ("", "")),
        ("sentinel://a.test,b.test:1/main/4", "sentinel://a.test:26379,b.test:1/main/4", ("", "")),
        ("redis://:p@h.test", "redis://h.test:6379/0", ("", "p")),
    ],
)
def test_addresses(url: str, shown: str, login: tuple[str, str]) -> None:
    place = read_redis_url(url)
    assert (str(place), (place.username, place.password)) == (shown, login)


@pytest.mark.parametrize(("line", "together"), [("", True), ("nodes = no", False)])
def test_explain_says_which_limits_all_nodes_hold(line: str, together: bool) -> None:
    config = parse_config(f"""
[shared]
redis = redis://10.0.0.1
[limit per-client]
rate = 5/1m
{line}
[frontend web]
listen = tcp:8080
limits = per-client
backend = app
[backend app]
servers = a 10.0.0.2:80
""")
    found = explain_http(config, "GET", "http://a.test:8080/", []).as_text()
    assert ("at all nodes together" in found) is together


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("redis://10.0.0.1", 2),
        ("redis://:word@10.0.0.1", 1),
        ("rediss://:word@10.0.0.1", 0),
        ("redis://127.0.0.1", 0),
        ("unix:///run/redis.sock", 0),
    ],
)
def test_check_security_names_an_open_store(url: str, count: int) -> None:
    config = parse_config(f"[shared]\nredis = {url}\n")
    points = [one for one in open_points(config) if one.section == "shared"]
    assert len(points) == count


def test_a_reload_that_adds_or_removes_the_section_says_that_it_needs_a_restart() -> None:
    section = "[shared]\nredis = redis://10.0.0.1/0\n"
    rest = "[frontend w]\nlisten = tcp:80\nroutes = default -> reply 200 ok\n"
    for before, after in ((section + rest, rest), (rest, section + rest)):
        found = diff(parse_config(before), parse_config(after))
        assert {change.effect for change in found.changes} == {Effect.RESTART}
        assert found.restart == ("shared", "shared redis")


def test_the_documented_acl_has_each_command() -> None:
    root = Path(__file__).resolve().parents[2]
    written = (root / "docs/nodes.rst").read_text(encoding="utf-8")
    allowed = set(re.findall(r"\+([a-z]+)", written[written.index("user lbproxy on") :]))
    used = {"SELECT"}
    for path in (root / "lbproxy").rglob("*.py"):
        if "redis" in (text := path.read_text(encoding="utf-8")).lower():
            used.update(re.findall(r"""\bcall\(["']([A-Z]+)["']""", text))
    assert {"EVALSHA", "ZSCORE", "XADD"} < used
    assert {one.lower() for one in used} == allowed
