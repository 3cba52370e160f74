"""What differs between two configurations, and when it is felt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from lbproxy.config.diff import Effect, diff, listener_key, server_moves, successor
from lbproxy.config.dump import as_json
from lbproxy.config.model import Config, ServerSpec
from lbproxy.registry import parse_config

from .test_dump import CONFIGS

TEXT = """
[lbproxy]
access_log = off
[frontend web]
listen =
    tcp:80
    tcp:81
routes =
    path /a -> app
    path /b -> app
backend = app
allow = 10.0.0.0/8 1.2.3.4
max_body = 10m
[backend app]
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
check = http GET /health
"""


def changed(*pairs: tuple[str, str]) -> Config:
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return parse_config(text)


OLD = parse_config(TEXT)


@pytest.mark.parametrize(
    ("old", "new", "section", "key", "before", "after", "effect"),
    [
        ("tcp:81", "tcp:82", "frontend web", "listen", ["tcp:81"], ["tcp:82"], Effect.LISTEN),
        (
            "path /b -> app",
            "path /c -> app",
            "frontend web",
            "routes",
            ["path /b -> app"],
            ["path /c -> app"],
            Effect.NEXT,
        ),
        ("10.0.0.0/8 ", "", "frontend web", "allow", ["10.0.0.0/8"], [], Effect.NEXT),
        ("10m", "none", "frontend web", "max_body", ["10m"], ["none"], Effect.NEXT),
        (
            "a 10.0.0.1:80",
            "a 10.0.0.1:80 weight=3",
            "backend app",
            "servers",
            ["a 10.0.0.1:80"],
            ["a 10.0.0.1:80 weight=3"],
            Effect.SERVERS,
        ),
        (
            "check = http GET /health",
            "retries = 7",
            "backend app",
            "check",
            ["http GET /health"],
            [],
            Effect.NOW,
        ),
        ("off", "stdout json", "lbproxy", "access_log", ["off json"], ["stdout json"], Effect.NOW),
    ],
)
def test_one_change(
    old: str, new: str, section: str, key: str, before: list[str], after: list[str], effect: Effect
) -> None:
    found = diff(OLD, changed((old, new))).section(section)
    (change,) = [one for one in found if one.key == key]
    assert (list(change.before), list(change.after)) == (before, after)
    assert change.effect is effect
    text = change.text()
    assert text.startswith(f"[{section}] {key}: {effect.value}")
    assert all(f"\n    - {line}" in text for line in before)
    assert all(f"\n    + {line}" in text for line in after)


def test_sections_that_come_and_go() -> None:
    new = changed(("[frontend web]", "[frontend shop]"))
    changes = diff(OLD, new).changes
    assert [(c.section, c.what, c.effect) for c in changes] == [
        ("frontend web", "removed", Effect.DRAIN),
        ("frontend shop", "added", Effect.NOW),
    ]


SECRETS = """
[lbproxy]
secret = file-SECRET-0123456789
[frontend web]
listen = tcp:80
backend = app
filters = set-header request Authorization "Basic SECRET"
[frontend db]
mode = tcp
listen = tcp:81
backend = pg
[backend app]
servers = a 10.0.0.1:80
check = http GET / header="Authorization: Bearer SECRET"
[backend pg]
servers = a 10.0.0.1:81
check = pgsql user=x password=SECRET
[backend redis]
mode = tcp
servers = a 10.0.0.1:82
check = tcp send="AUTH SECRET"
[alerts]
webhooks = https://example.com/SECRET token=SECRET
mails = a@example.com tls=always user=x password=SECRET
"""


def test_an_empty_section_of_alerts_counts() -> None:
    bare, alerted = parse_config(TEXT), parse_config(TEXT + "[alerts]\n")
    (there,), (back,) = diff(bare, alerted).changes, diff(alerted, bare).changes
    assert (there.section, there.key, there.what) == ("alerts", "", "added")
    assert (back.section, back.key, back.what) == ("alerts", "", "removed")


def test_secrets_are_not_shown() -> None:
    """Neither what they were nor what they are; but that they changed."""
    old, new = parse_config(SECRETS), parse_config(SECRETS.replace("SECRET", "HIDDEN"))
    found = diff(old, new)
    text = found.text() + json.dumps(found.as_json())
    assert "SECRET" not in text and "HIDDEN" not in text
    assert {(c.section, c.key) for c in found.changes} == {
        ("lbproxy", "secret"), ("frontend web", "filters"), ("backend app", "check"),
        ("backend pg", "check"), ("backend redis", "check"), ("alerts", "webhooks"),
        ("alerts", "mails"),
    }  # fmt: skip
    assert (
        "- pgsql user=x password=***\n    + pgsql user=x password=***  (another secret)"
        in text.replace("'", "").replace('"', "")
    )
    assert "its code changed" not in text
    other = diff(old, parse_config(SECRETS.replace("pgsql user=x", "pgsql user=y")))
    assert [c.after for c in other.changes] == [("pgsql user=y password=***",)]
    assert "SECRET" not in json.dumps(as_json(old, mask=True))


def test_another_mode_is_another_frontend() -> None:
    tcp = parse_config(
        "[frontend web]\nmode = tcp\nlisten = tcp:80\nbackend = app\n"
        "[backend app]\nservers = a 10.0.0.1:80\n"
    )
    changes = diff(OLD, tcp).changes
    assert {(c.section, c.what) for c in changes if not c.key} == {
        ("frontend web", "removed"),
        ("frontend web", "added"),
        ("backend app", "removed"),
        ("backend app", "added"),
    }
    assert successor(OLD.frontend("web"), tcp.frontends) is None
    assert successor(OLD.frontend("web"), OLD.frontends) is OLD.frontend("web")
    assert successor(OLD.frontend("web"), ()) is None


def test_what_a_reload_cannot_change() -> None:
    found = diff(OLD, changed(("access_log = off", "access_log = off\ntransport = twisted")))
    assert found.restart == ("lbproxy transport",)
    assert "needs a restart" in found.text()


def test_lines_are_compared_by_what_they_mean() -> None:
    moved = parse_config(
        "# a comment\n\n" + TEXT.replace("    a 10.0.0.1:80", "      a 10.0.0.1:80")
    )
    assert not diff(OLD, moved)
    assert diff(OLD, moved).text() == "nothing changes"


def test_order_counts() -> None:
    swapped = changed(("path /a -> app\n    path /b -> app", "path /b -> app\n    path /a -> app"))
    (change,) = diff(OLD, swapped).changes
    assert (change.section, change.key) == ("frontend web", "routes")


def test_new_code_behind_the_same_line(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    text = TEXT.replace("[backend app]", "[backend app]\nbalance = mine.py:Mine\n")
    code = "from lbproxy.balance.first import First\nclass Mine(First):\n    name = 'mine'\n"
    plugin.write_text(code)
    first = parse_config(text, base_dir=str(tmp_path))
    assert not diff(first, parse_config(text, base_dir=str(tmp_path)))
    plugin.write_text(code + "    version = 2\n")
    (change,) = diff(first, parse_config(text, base_dir=str(tmp_path))).changes
    assert (change.section, change.key) == ("backend app", "balance")
    assert "~ mine.py:Mine  (the same line: its code changed)" in change.text()


@pytest.mark.parametrize(
    ("old", "new", "added", "removed", "changed", "kept"),
    [
        ("a 10.0.0.1:1", "a 10.0.0.1:1", "", "", "", "a"),
        ("a 10.0.0.1:1", "a 10.0.0.2:1", "a", "a", "", ""),
        ("a 10.0.0.1:1", "a 10.0.0.1:1 weight=2", "", "", "a", ""),
        ("a 10.0.0.1:1\nb 10.0.0.2:1", "c 10.0.0.3:1\nb 10.0.0.2:1", "c", "a", "", "b"),
        ("a 10.0.0.1:1\nb 10.0.0.2:1", "b 10.0.0.2:1\na 10.0.0.1:1", "", "", "", "ba"),
    ],
)
def test_servers(old: str, new: str, added: str, removed: str, changed: str, kept: str) -> None:
    def servers(lines: str) -> tuple[ServerSpec, ...]:
        indented = "".join(f"    {line}\n" for line in lines.splitlines())
        return parse_config(f"[backend app]\nmode = tcp\nservers =\n{indented}").backends[0].servers

    moves = server_moves(servers(old), servers(new))
    found = ("".join(moves.added), "".join(moves.removed), "".join(moves.changed))
    assert (*found, "".join(moves.kept)) == (added, removed, changed, kept)


def test_the_same_socket() -> None:
    text = (
        "[frontend web]\nlisten =\n    {}\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"
    )

    def key(line: str) -> object:
        return listener_key(parse_config(text.format(line)).frontends[0].listen[0])

    assert key("tcp:80") == key("tcp:80 backlog=7")
    assert key("tcp:80:interface=127.0.0.1") == key("127.0.0.1:80") != key("tcp:80")
    assert key("systemd:domain=INET:index=0") != key("systemd:domain=INET:index=1")
    assert key("unix:/a") != key("unix:/b")


@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(CONFIGS, CONFIGS)
def test_the_laws_of_a_difference(old: Config, new: Config) -> None:
    assert not diff(old, old)
    there, back = diff(old, new), diff(new, old)
    assert bool(there) == (old != new) == bool(back)
    assert {(c.section, c.key) for c in there.changes} == {(c.section, c.key) for c in back.changes}
    for change in there.changes:
        assert change.text()
        assert change.before or change.after or not change.key or change.what != "changed"
    json.dumps(there.as_json())


@pytest.mark.long
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(CONFIGS, CONFIGS)
def test_the_laws_of_many_differences(old: Config, new: Config) -> None:
    test_the_laws_of_a_difference.hypothesis.inner_test(old, new)
