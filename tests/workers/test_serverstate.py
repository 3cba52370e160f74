"""What the master knows of servers reaches the workers."""

from __future__ import annotations

from typing import Any

from lbproxy.config.build import parse_server
from lbproxy.testing import LB
from lbproxy.workers.serverstate import apply, encode, signature

TEXT = """
[frontend web]
listen = tcp:8080
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


def no_parser(line: str) -> Any:
    raise AssertionError(f"no server is added: {line}")


def test_addresses_that_fail_their_checks_are_avoided_in_workers_too() -> None:
    with LB.from_config(TEXT) as master, LB.from_config(TEXT) as worker:
        ours, theirs = master.backend("app"), worker.backend("app")
        before = signature(ours)
        ours.group.set_unusable(ours.group.servers["a"], frozenset({"10.0.0.9:80"}))
        assert signature(ours) != before, "the master notices"
        apply(theirs, encode(ours), no_parser)
        assert theirs.group.servers["a"].unusable == {"10.0.0.9:80"}
        ours.group.set_unusable(ours.group.servers["a"], frozenset())
        apply(theirs, encode(ours), no_parser)
        assert theirs.group.servers["a"].unusable == set()


def test_another_line_of_a_server_that_was_found() -> None:
    with LB.from_config(TEXT) as master, LB.from_config(TEXT) as worker:
        ours, theirs = master.backend("app"), worker.backend("app")
        server = ours.add(parse_server("b 10.0.0.2:80"), "discovery:dns")
        apply(theirs, encode(ours), parse_server)
        there = theirs.group.servers["b"]
        ours.change(server, parse_server("b 10.0.0.2:80 send_proxy=v2 weight=5"))
        apply(theirs, encode(ours), parse_server)
        assert theirs.group.servers["b"] is there
        assert (there.spec.send_proxy, there.weight) == ("v2", 5)
        assert there.origin == "discovery:dns"
        apply(theirs, encode(ours), no_parser)
