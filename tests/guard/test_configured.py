"""The judge of addresses of a configuration."""

from __future__ import annotations

from lbproxy.guard.configured import configured_judge, listener_addresses
from lbproxy.model import Address
from lbproxy.registry import parse_config

TEXT = """
[lbproxy]
admin = tcp:8404:interface=127.0.0.1
[frontend web]
listen =
    tcp:8080:interface=198.51.100.1
    unix:/run/lb.sock
backend = app
[backend app]
servers = a 10.0.0.1:80
"""


def test_only_tcp_listeners_have_an_address() -> None:
    config = parse_config(TEXT)
    assert sorted(listener_addresses(config)) == [("127.0.0.1", 8404), ("198.51.100.1", 8080)]
    judge = configured_judge(config, ["192.0.2.1"], lambda: [Address("unix", path="/x")])
    assert judge is not None
