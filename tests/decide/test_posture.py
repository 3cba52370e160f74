"""What ``lbproxy check --security`` lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbproxy.cli import main
from lbproxy.decide.posture import open_points
from lbproxy.registry import parse_config

TIGHT = """
[lbproxy]
admin = unix:admin.sock
state = state

[waf main]

[limit main]
rate = 100/10s

[ban main]
after = 30/1m

[frontend web]
listen = tls:8443 certificates=a.pem
maxconn_per_ip = 50
limits = main
bans = main
max_body = 1m
server_header = remove
waf = main
backend = app

[backend app]
servers = a 10.0.0.1:80
"""


def keys(text: str) -> list[str]:
    from lbproxy.config.build import DISK, Files

    files = Files(read=DISK.read, glob=DISK.glob, exists=lambda path: True)
    return [one.key for one in open_points(parse_config(text, "lb.ini", ".", files=files))]


def test_a_tight_configuration_leaves_nothing_open() -> None:
    assert keys(TIGHT) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("unix:admin.sock", "tcp:8404:interface=127.0.0.1", ["admin"]),
        ("unix:admin.sock", "tcp:8404\nadmin_tokens = tokens", ["admin"]),
        (
            "unix:admin.sock",
            "tcp:8404\nadmin_tokens = tokens\nadmin_public = metrics",
            ["admin", "admin_public"],
        ),
        ("unix:admin.sock", "tcp:8404:interface=127.0.0.1 role=read", []),
        ("[lbproxy]", "[lbproxy]\nguard_public = 127.95.1.0/24", ["guard_public"]),
        ("maxconn_per_ip = 50\nlimits = main", "", ["maxconn_per_ip", "limits"]),
        ("maxconn_per_ip = 50", "", []),
        ("limits = main", "", ["limits"]),
        ("bans = main", "", ["bans"]),
        ("state = state", "", ["state"]),
        ("max_body = 1m", "", ["max_body"]),
        ("server_header = remove", "", ["server_header"]),
        ("waf = main", "", ["waf"]),
        ("[waf main]", "[waf main]\nmode = detect", ["waf"]),
        ("[waf main]", "[waf main]\nrules = /crs", []),
        ("[waf main]", "[waf main]\nrules = /crs\non_error = open", ["waf"]),
        ("a.pem", "a.pem ciphers=ALL:!aNULL", ["listen"]),
        ("a.pem", "a.pem accept_proxy=0.0.0.0/0", ["accept_proxy"]),
        ("max_body", "trusted_proxies = ::/0\nmax_body", ["trusted_proxies"]),
        ("max_body", "timeout_header = 5m\nmax_body", ["timeout_header"]),
        ("max_body", "upgrade = any\nmax_body", ["upgrade"]),
        ("max_body", "trace = yes\nmax_body", ["trace"]),
        ("tls:8443 certificates=a.pem", "tcp:8080", ["listen"]),
        ("tls:8443 certificates=a.pem", "tcp:8080:interface=127.0.0.1", []),
        ("10.0.0.1:80", "10.0.0.1:443 tls verify=no", ["servers"]),
    ],
)
def test_what_is_open(old: str, new: str, found: list[str]) -> None:
    assert old in TIGHT
    assert keys(TIGHT.replace(old, new, 1)) == found


def test_forgetting_points_at_what_is_forgotten() -> None:
    text = "[frontend web]\nlisten = tcp:80\nbackend = app\n[backend app]\nservers = a h:1\n"
    config = parse_config(f"{text}[ban main]\nafter = 30/1m\n", "lb.ini")
    (found,) = [one for one in open_points(config) if one.key == "state"]
    assert str(found.where) == "lb.ini:6"


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "lb.ini"
    file.write_text(
        "[frontend web]\nlisten = tcp:8080\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"
    )
    run = CliRunner().invoke
    found = run(main, ["check", str(file), "--security"])
    assert found.exit_code == 0
    assert (
        f"open: {file}:1: [frontend web] max_body: bodies of any size pass: set it" in found.output
    )
    assert "open:" not in run(main, ["check", str(file)]).output
    data = json.loads(run(main, ["check", str(file), "--security", "--json"]).stdout)
    assert {"max_body", "waf"} <= {one["key"] for one in data["security"]}
    assert "security" not in json.loads(run(main, ["check", str(file), "--json"]).stdout)
