"""What explain, replay and check say about a firewall."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("re2")

from lbproxy.decide.explain import explain_http
from lbproxy.decide.replay import replay
from lbproxy.registry import parse_config

PLAIN = """
[frontend web]
listen = tcp:8080
{waf}
routes =
    path /free/* -> app{none}
backend = app
[backend app]
servers = a 10.0.0.1:80
"""
BLOCK = "[waf main]\n{mode}\n" + PLAIN.format(waf="waf = main", none=" waf=none")
OFF = PLAIN.format(waf="", none="")
ATTACK = "/a?q=%27%20or%201%3D1--"


def config(mode: str = "") -> str:
    return BLOCK.replace("{mode}", mode)


def test_explain_names_the_rules() -> None:
    loaded = parse_config(config(), "lb.ini", ".")
    found = explain_http(loaded, "GET", f"http://h:8080{ATTACK}", [], "192.0.2.1")
    assert found.error.startswith("blocked: the firewall refuses it with 403 (942100(ARGS:q)")
    assert not explain_http(loaded, "GET", "http://h:8080/a?q=1", [], "192.0.2.1").error
    assert not explain_http(loaded, "GET", f"http://h:8080/free{ATTACK}", [], "192.0.2.1").error
    loaded = parse_config(config("mode = detect"), "lb.ini", ".")
    found = explain_http(loaded, "GET", f"http://h:8080{ATTACK}", [], "192.0.2.1")
    assert not found.error
    assert any(line.startswith("firewall: detect 942100") for line in found.filters)


def test_replay_shows_what_would_be_refused() -> None:
    line = '192.0.2.1 - - [23/Nov/2026:12:46:06 +0000] "GET {} HTTP/1.1" 200 5 "-" "{}"'
    lines = [
        line.format("/a?q=1", "curl/8"),
        line.format(ATTACK, "curl/8"),
        line.format("/a?q=2", "sqlmap/1.7"),
        line.format(f"/free{ATTACK}", "curl/8"),
    ]
    old, new = (parse_config(text, "lb.ini", ".") for text in (OFF, config()))
    result = replay(lines, old, new)
    assert (result.requests, result.changed) == (4, 2)
    shown = {one.fields["firewall"][1].partition("(")[0] for one in result.differences}
    assert shown == {"block 942100", "block 913100"}


def test_check_runs_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from lbproxy.cli import main

    file = tmp_path / "lb.ini"
    file.write_text(config())
    assert CliRunner().invoke(main, ["check", str(file)]).exit_code == 0
    monkeypatch.setattr("lbproxy.waf.examples.wrong_examples", lambda rules: ["rule 1 is wrong"])
    result = CliRunner().invoke(main, ["check", str(file)])
    assert (result.exit_code, "firewall: rule 1 is wrong" in result.output) == (1, True)
