"""Plugins in a file each: a balancer, a probe, a failure page, a body that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lbproxy.testing import LB

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "extending"
TEXT = f"""
[frontend web]
listen = tcp:80
backend = app
filters =
    {{filters}}
[backend app]
balance = {FOLDER}/last.py:Last
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
"""


def site(filters: str, more: str = "") -> Any:
    """A load balancer with these filters."""
    return LB.from_config(TEXT.format(filters=filters) + more)


def test_the_balancer_picks_the_last_one_that_is_there() -> None:
    with site(f"{FOLDER}/sorry.py:Sorry") as lb:
        lb.origin("a", "10.0.0.1:80")
        lb.origin("b", "10.0.0.2:80")
        assert {lb.get("http://h/").server for _ in range(3)} == {"b"}
        lb.service.maint("app", "b")
        assert lb.get("http://h/").server == "a"


def test_a_failure_has_its_page() -> None:
    with site(f"{FOLDER}/sorry.py:Sorry 'Closed today.'") as lb:
        answer = lb.get("http://h/")
        assert (answer.status, answer.body) == (503, b"Closed today.")
        assert answer.header("Retry-After") == "5"
        lb.origin("b", "10.0.0.2:80")
        assert lb.get("http://h/").body == b"ok"


def test_a_body_changes_on_its_way() -> None:
    with site(f"{FOLDER}/sorry.py:Shout") as lb:
        lb.origin("b", "10.0.0.2:80", lambda request: b"quiet words")
        answer = lb.get("http://h/")
        assert (answer.body, answer.header("Content-Length")) == (b"QUIET WORDS", "11")


def test_the_probe_reads_the_status() -> None:
    check = f"check = {FOLDER}/status.py:Status port=9000 every=1s fall=1 rise=1\n"
    with site(f"{FOLDER}/sorry.py:Sorry", check) as lb:
        lb.tcp_origin("a", "10.0.0.1:9000", lambda data: b"READY to serve\r\n")
        lb.tcp_origin("b", "10.0.0.2:9000", lambda data: b"WAIT\r\n")
        lb.advance(3)
        states = {name: lb.server("app", name).state.value for name in "ab"}
        assert states == {"a": "up", "b": "down"}
        assert "WAIT" in lb.server("app", "b").note
