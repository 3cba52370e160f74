"""What explain, replay and check say about a firewall."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("re2")

from lbproxy.decide.explain import explain_http
from lbproxy.decide.replay import replay
from lbproxy.registry import parse_config
from lbproxy.waf.engine import MissingEngine
from tests.support.modsecurity import CRS, library, small_rules, with_core_rules

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
    assert "bodies and other headers of requests that a firewall judges" in result.as_text()


def test_rules_of_modsecurity_are_asked_too() -> None:
    with_core_rules()
    loaded = parse_config(config(f"rules = {CRS}\nparanoia = 1"), "lb.ini", ".")
    found = explain_http(loaded, "GET", f"http://h:8080{ATTACK}", [], "192.0.2.1")
    assert found.error == "blocked: the firewall refuses it with 403 (942100(ARGS:q))"
    line = '192.0.2.1 - - [23/Nov/2026:12:46:06 +0000] "GET {} HTTP/1.1" 200 5 "-" "curl/8"'
    lines = [line.format("/a?q=1"), line.format(ATTACK)]
    result = replay(lines, parse_config(OFF, "lb.ini", "."), loaded)
    (one,) = result.differences
    assert (one.count, one.fields["firewall"][1]) == (1, "block 942100(ARGS:q)")


def test_rules_that_cannot_be_loaded_are_an_error(tmp_path: Path) -> None:
    library().close()
    folder = small_rules(tmp_path, "SecNonsense")
    loaded = parse_config(config(f"rules = {folder}"), "lb.ini", ".")
    with pytest.raises(MissingEngine, match=r"waf main: .*SecNonsense"):
        explain_http(loaded, "GET", "http://h:8080/", [], "192.0.2.1")


def test_check_runs_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from lbproxy.cli import main

    file = tmp_path / "lb.ini"
    file.write_text(config())
    assert CliRunner().invoke(main, ["check", str(file)]).exit_code == 0
    monkeypatch.setattr("lbproxy.waf.examples.wrong_examples", lambda rules: ["rule 1 is wrong"])
    result = CliRunner().invoke(main, ["check", str(file)])
    assert (result.exit_code, "firewall: rule 1 is wrong" in result.output) == (1, True)
