"""A server's agent and a program as a check, both real, behind lbproxy as a process."""

from __future__ import annotations

import socketserver
import threading

import pytest

from tests.live.balancer import ONE_TRANSPORT
from tests.live.clients import run
from tests.support.ports import free_port
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-agents")]


class Agent:
    """Says ``line`` to everybody who connects."""

    def __init__(self, line):
        self.line = line
        agent = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(agent.line)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def agents():
    made = [Agent(b"up\n"), Agent(b"up\n")]
    yield made
    for agent in made:
        agent.close()


def test_an_agent_takes_its_server_out_and_back(balancer, nginx_pair, agents, curl):
    port = free_port()
    a, b = nginx_pair
    lb = balancer(
        f"[frontend f]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
        f"[backend app]\nagent = {agents[0].port} every=100ms timeout=5s\nservers =\n"
        f"    a {a.address}\n    b {b.address} agent_address=127.0.0.1:{agents[1].port}\n"
    )
    ask = [curl, "-sS", f"http://127.0.0.1:{port}/hello?[1-6]"]
    assert set(run(ask).stdout.split()) == {"hello", "from", "a", "b"}
    agents[0].line = b"drain#backup at night\n"
    lb.wait_output("the agent of app/a reports drain: backup at night")
    assert run(ask).stdout == "hello from b\n" * 6
    agents[0].line = b"ready\n"
    agents[1].line = b"0%\n"
    lb.wait_output("the agent of app/a reports up")
    only_a = "hello from a\n" * 6
    assert until(lambda: run(ask).stdout == only_a), "b still gets traffic"


@ONE_TRANSPORT
def test_a_program_as_a_check(balancer, nginx_pair, tmp_path, curl):
    """By its exit status; one that hangs is killed and is a failure."""
    port = free_port()
    a, b = nginx_pair
    script = tmp_path / "check.sh"
    script.write_text(
        f'#!/bin/sh\ncd {tmp_path}\ntest -e "$LBPROXY_SERVER.hang" && sleep 300\n'
        'test -e "$LBPROXY_SERVER.bad" && { echo "no good at $1:$LBPROXY_PORT"; exit 2; }\necho '
        "fine\n"
    )
    script.chmod(0o755)
    lb = balancer(
        f"[frontend f]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n"
        f"[backend app]\ncheck = exec {script} {{address}} every=200ms timeout=2s rise=1 fall=1\n"
        f"servers =\n    a {a.address}\n    b {b.address}\n"
    )
    ask = [curl, "-sS", f"http://127.0.0.1:{port}/hello?[1-6]"]
    (tmp_path / "a.bad").touch()
    lb.wait_output(f"server app/a is down: status 2: no good at {a.address}")
    assert run(ask).stdout == "hello from b\n" * 6
    (tmp_path / "a.bad").unlink()
    lb.wait_output("server app/a is up: fine")
    (tmp_path / "b.hang").touch()
    lb.wait_output("server app/b is down: no answer in 2 s")
    assert run(ask).stdout == "hello from a\n" * 6
