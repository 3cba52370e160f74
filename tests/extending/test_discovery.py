"""A discovery: a feature that adds and removes servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.balance.server import ServerState
from lbproxy.testing import LB
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "serverlist.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
server_list = {path}
check = http GET / every=1s initial=down
servers = fixed 10.0.0.9:80 disabled
"""


@pytest.fixture
def listed(install: Install, tmp_path: Path) -> Path:
    """The file with the servers; the feature is installed."""
    install("serverlist", SOURCE.read_text(), "ServerList")
    path = tmp_path / "servers"
    path.write_text("a 10.0.0.1:80\n")
    return path


def test_servers_come_and_go_with_the_file(listed: Path) -> None:
    text = TEXT.format(path=listed)
    with LB.from_config(text) as lb:

        def servers() -> dict[str, ServerState]:
            return lb.backend("app").group.servers

        for name, address in (("a", "10.0.0.1:80"), ("b", "10.0.0.2:80")):
            lb.origin(name, address)
        lb.advance(1)
        assert lb.get("http://h/").server == "a", "it is checked, and takes traffic"
        counted = servers()["a"]
        listed.write_text("a 10.0.0.1:80\nb 10.0.0.2:80 weight=2\n")
        lb.advance(6)
        assert (servers()["b"].origin, servers()["b"].full_weight) == ("discovery:file", 2)
        assert servers()["a"] is counted, "a server that stays keeps its state"
        assert lb.service.reload(text + "queue = 3\n").ok
        assert servers()["b"].origin == "discovery:file" and not lb.service.changing.drift()
        listed.write_text("b 10.0.0.2:80\nnonsense\n")
        lb.advance(6)
        assert {"a", "b"} <= set(servers()), "an error changes nothing"
        listed.write_text("b 10.0.0.2:80\n")
        lb.advance(6)
        assert set(servers()) == {"fixed", "b"} and servers()["b"].full_weight == 1
        assert lb.service.reload(text.replace("server_list", "# server_list")).ok
        assert set(servers()) == {"fixed"}
