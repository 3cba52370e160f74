"""Operators at work and things going wrong while traffic runs: reloads, drains, servers added and
weighed, certificates swapped, the program upgraded, origins and workers killed, the system's clock
set, filters that raise SystemExit or never return, floods of the admin API. No request may fail but
those of a worker that was killed.

``LBPROXY_CHAOS_S=600 pytest -m long tests/live/test_chaos.py`` runs for 600 seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import ssl
import time
from collections import Counter

import pytest

from tests.live.test_clock import Clock
from tests.live.test_failover import Load
from tests.siege.attack import begin
from tests.siege.attacks import Ports
from tests.support import tls
from tests.support.ports import free_ports
from tests.support.process import descendants, until

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.xdist_group("live-chaos")]

SECONDS = float(os.environ.get("LBPROXY_CHAOS_S", "30"))
CLIENTS = 4
PER_CONNECTION = 200  # requests, after which a client comes anew (and sees the present certificate)

FILTER = """\
from lbproxy.http.filter import Filter

class Chaos(Filter):
    def request(self, traffic):
        if traffic.request.path == b"/exit":
            raise SystemExit(3)
        while traffic.request.path == b"/hang":
            pass
"""

CONFIG = """\
[frontend web]
filters = {chaos}:Chaos
listen =
    tcp:{http}:interface=127.0.0.1
    tls:{https}:interface=127.0.0.1 certificates={pem}
routes = path /nothing{round}/* -> reply 404
backend = app

[backend app]
balance = {balance}
check = http GET /healthz expect=200 every=200ms timeout=2s rise=2 fall=2
retries = 5
servers =
    a {a} weight={weight}
    b {b}
{more}
"""


class Clients(Load):
    """Keep asking over HTTP and HTTPS; whatever is not 200 is remembered with its time."""

    def __init__(self, ports):
        self.failures = []
        self.certificates = set()
        self._ports = ports
        self._context = ssl.create_default_context()
        tls.authority().configure_trust(self._context)
        super().__init__(ports["http"], CLIENTS)

    def _ask(self, index):
        while not self._over.is_set():
            client = self._client(index)
            try:
                client.connect()
                if index % 2:
                    self.certificates.add(client.sock.getpeercert()["serialNumber"])
                for _ in range(PER_CONNECTION):
                    if self._over.is_set():
                        break
                    client.request("GET", "/hello")
                    response = client.getresponse()
                    response.read()
                    self.statuses[response.status] += 1
                    self.counts[index] += 1
                    if response.status != 200:
                        self.failures.append((time.time(), response.status))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((time.time(), repr(error)))
                time.sleep(0.05)
            finally:
                client.close()

    def _client(self, index):
        host, context = "127.0.0.1", self._context
        if index % 2 == 0:
            return http.client.HTTPConnection(host, self._ports["http"], timeout=60)
        return http.client.HTTPSConnection(host, self._ports["https"], timeout=60, context=context)


class Operator:
    """Does one thing after another, and leaves the balancer able to serve after each."""

    def __init__(self, lb, ports, origins, pem, chance, clock):
        self.lb = lb
        self.clock = clock
        self.ports = ports
        self.origins = origins
        self.pem = pem
        self.random = chance
        self.done = Counter()
        self.kills = []  # (begin, end) of the time in which a worker was missed
        self.reloads = 0
        text = lb.process.config.read_text()
        self.head = text.partition("[frontend")[0]
        self.deeds = (
            self.reload, self.drain, self.weigh, self.add_and_remove, self.swap_certificate,
            self.restart_origin, self.set_clock, self.exit_filter, self.flood_admin, self.upgrade,
        )  # fmt: skip

    def act(self):
        deed = self.random.choice(self.deeds)
        deed()
        self.done[deed.__name__] += 1

    def reload(self):
        self.reloads += 1
        made = self.lb.output().count("reload: made")
        text = site(
            self.ports,
            self.origins,
            self.pem,
            round=self.reloads,
            weight=self.reloads % 3 + 1,
            balance=self.random.choice(("roundrobin", "leastconn", "p2c")),
        )
        self.lb.process.rewrite(self.head + text)
        self.lb.process.child.send_signal(1)
        self.lb.wait_output("reload: made", made + 1, 30)

    def drain(self):
        name = self.random.choice("ab")
        self.ask("PATCH", f"/servers/{name}", {"admin": "drain"})
        waited = self.ask("POST", f"/servers/{name}/drain/wait", {"timeout_s": 20})
        assert waited["done"], waited
        self.ask("PATCH", f"/servers/{name}", {"admin": "ready"})

    def weigh(self):
        self.ask("PATCH", "/servers/b", {"weight": self.random.randrange(1, 10)})

    def add_and_remove(self):
        self.ask("POST", "/servers", {"server": f"extra {self.origins['a']}"})
        time.sleep(0.2)
        self.ask("DELETE", "/servers/extra")

    def swap_certificate(self):
        tls.issue.cache_clear()
        written = tls.write(tls.issue("127.0.0.1"), self.pem.parent, "next")
        os.replace(written, self.pem)  # workers may be reading the old one
        self.reload()

    def restart_origin(self):
        name = self.random.choice("ab")
        origin = self.origins["servers"][name]
        origin.child.kill()
        time.sleep(self.random.random())
        origin.start()
        assert until(lambda: self.state(name) == "up")

    def upgrade(self):
        """Another process takes over, with what operators have changed."""
        answer = self.call("POST", "/upgrade")
        assert answer["ok"], answer
        assert self.lb.process.child.follow(answer["pid"], 60), self.lb.output()[-4000:]
        assert until(lambda: self.state("a") == self.state("b") == "up")
        if "workers" in self.head:
            assert until(self.all_serve, 60)

    def set_clock(self):
        self.clock.set(self.random.choice((-86400, -3600, 3600, 86400)))
        time.sleep(1)
        self.clock.set(0)

    def exit_filter(self):
        client = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=60)
        client.request("GET", "/exit")
        assert client.getresponse().status == 500
        client.close()

    def flood_admin(self):
        ports = Ports(self.ports["http"], 0, 0, self.ports["admin"])
        name = self.random.choice(("reloads", "states", "followers"))
        assert begin(name, 1.0, ports, 0.2).wait(60) == 0

    def hang_worker(self):
        start = time.time()
        before = set(self.workers())
        with socket.create_connection(("127.0.0.1", self.ports["http"])) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
            assert until(lambda: before - set(self.workers()) and self.all_serve(), 90)
        self.kills.append((start, time.time()))
        assert "in request" in self.lb.output(), "the stack of a worker that hangs is logged"

    def kill_worker(self):
        begin = time.time()
        pid = self.random.choice(self.workers())
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: pid not in self.workers() and self.all_serve(), 60)
        self.kills.append((begin, time.time()))

    def all_serve(self):
        workers, output = self.workers(), self.lb.output()
        return len(workers) == 2 and all(f"serves (pid {pid})" in output for pid in workers)

    def workers(self):
        return descendants(self.lb.process.pid)

    def state(self, name):
        return self.ask("GET", f"/servers/{name}")["state"]

    def ask(self, method, path, body=None):
        """The admin API, of the backend."""
        return self.call(method, f"/backends/app{path}", body)

    def call(self, method, path, body=None):
        """The admin API."""
        client = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=60)
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        client.request(method, f"/api/v1{path}", data, headers)
        response = client.getresponse()
        answer = json.loads(response.read())
        client.close()
        assert response.status < 300, (method, path, response.status, answer)
        return answer


def site(ports, origins, pem, **values):
    """The configuration, but for ``[lbproxy]``."""
    values = {"round": 0, "weight": 1, "balance": "leastconn", "more": "", **values}
    chaos = pem.with_name("chaos.py")
    return CONFIG.format(**ports, a=origins["a"], b=origins["b"], pem=pem, chaos=chaos, **values)


def run(balancer, nginx, folder, settings=""):
    """Load and operator for a while; both afterwards."""
    ports = dict(zip(("http", "https", "admin"), free_ports(3), strict=True))
    a, b = nginx("a"), nginx("b")
    origins = {"a": a.address, "b": b.address, "servers": {"a": a, "b": b}}
    pem = folder / "site.pem"
    tls.write(tls.issue("127.0.0.1"), folder, "site")
    (folder / "chaos.py").write_text(FILTER)
    clock = Clock(folder)
    settings += f"admin = tcp:{ports['admin']}:interface=127.0.0.1\ntimeout_drain = 2s\n"
    lb = balancer(
        site(ports, origins, pem),
        settings=settings,
        ports=list(ports.values()),
        modules=clock.modules,
    )
    lb.tracebacks = ("SystemExit: 3",)
    operator = Operator(lb, ports, origins, pem, random.Random(7), clock)
    if "workers" in settings:
        operator.deeds += (operator.kill_worker, operator.hang_worker)
    with Clients(ports) as clients:
        clients.more(20)
        assert until(lambda: operator.state("a") == operator.state("b") == "up")
        for deed in operator.deeds:  # each at least once
            deed()
            clients.more(20)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and len(clients.failures) <= CLIENTS * len(operator.kills):
            operator.act()
            clients.more(20)
    print(f"{clients.total} requests, {dict(operator.done)}, {operator.reloads} reloads")
    assert set(clients.statuses) == {200}
    assert len(clients.certificates) >= 2
    assert "nothing was changed" not in lb.output()
    return clients, operator


def test_no_request_fails_while_operators_work(balancer, nginx, tmp_path):
    clients, operator = run(balancer, nginx, tmp_path)
    assert not clients.failures, (clients.failures[:10], operator.done)


def test_only_killed_workers_cost_requests(balancer, nginx, tmp_path):
    clients, operator = run(balancer, nginx, tmp_path, "workers = 2\nworker_timeout = 4s\n")
    assert len(clients.failures) <= CLIENTS * len(operator.kills)
    others = [
        failure
        for failure in clients.failures
        if not any(begin <= failure[0] <= end + 5 for begin, end in operator.kills)
    ]
    assert not others, (others, operator.kills)
    print(f"{len(clients.failures)} requests lost by {len(operator.kills)} kills")
