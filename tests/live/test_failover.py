"""An origin dies under load and comes back: what clients see, what is logged, what is counted."""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
from collections import Counter

import pytest

from tests.live.clients import run
from tests.live.test_http import web, wrk_is_content
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-failover")]

CHECK = "check = http GET /healthz expect=200 every=100ms timeout=1s rise=2 fall=2"


class Load:
    """Clients that keep asking, each on a connection of its own, until told to end."""

    def __init__(self, port, clients=4):
        self.statuses = Counter()
        self.errors = []
        self.counts = [0] * clients
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self):
        return sum(self.counts)

    def more(self, count=200):
        """Wait until there are so many more answers."""
        goal = self.total + count
        assert until(lambda: self.total >= goal or bool(self.errors))

    def _ask(self, index):
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        methods = ("GET", "HEAD", "GET", "OPTIONS")
        while not self._over.is_set():
            try:
                client.request(methods[self.counts[index] % 4], "/hello")
                response = client.getresponse()
                response.read()
            except Exception as error:
                self.errors.append(error)
                client.close()
                return
            # OPTIONS: nginx's ``return`` answers every method
            self.statuses[response.status] += 1
            self.counts[index] += 1
        client.close()


def test_a_killed_server_costs_no_request(balancer, nginx):
    a, b = nginx("a"), nginx("b", access_log=True)
    port = free_port()
    lb = balancer(web(port, a.address, b.address, check=CHECK))
    with Load(port) as load:
        load.more()
        # the very first check decides alone, so let that be over
        assert until(lambda: b.log.read_text().count("/healthz") >= 2)
        b.child.kill()
        load.more()
        lb.wait_output("server app/b is down")
        load.more()
        alone = len(lb.records())
        load.more()
        b.start()
        lb.wait_output("server app/b is up")
        again = load.total
        load.more()
        assert load.total > again
    assert not load.errors
    assert set(load.statuses) == {200}
    records = lb.wait_records(load.total)
    assert len(records) == load.total
    assert {(r["status"], r["close"]) for r in records} == {(200, "ok")}
    assert {r["server"] for r in records} == {"a", "b"}
    assert {r["server"] for r in records[-100:]} == {"a", "b"}  # it takes part again
    assert {r["server"] for r in records[alone : alone + 50]} == {"a"}
    output = lb.output()
    assert output.count("server app/b is down") == output.count("server app/b is up") == 1
    assert "server app/a" not in output
    assert re.search(r"server app/b is down: .+ \(2 failures\)", output)
    assert re.search(r"server app/b is up: .+ \(2 checks passed\)", output)


def test_killed_again_and_again_without_checks(balancer, nginx):
    """Only retries help here."""
    a, b = nginx("a"), nginx("b")
    port = free_port()
    lb = balancer(web(port, a.address, b.address))
    with Load(port) as load:
        for _ in range(3):
            load.more(100)
            b.child.kill()
            load.more(100)
            b.start()
        load.more(100)
    assert not load.errors
    assert set(load.statuses) == {200}
    records = lb.wait_records(load.total)
    assert len(records) == load.total
    assert any(r["attempts"] == 2 for r in records)
    assert max(r["attempts"] for r in records) <= 3


def test_curl_and_wrk_while_a_server_dies(balancer, nginx, curl):
    a, b = nginx("a"), nginx("b")
    port = free_port()
    lb = balancer(web(port, a.address, b.address, check=CHECK))
    wrk = [program("wrk"), "-t1", "-c20", "-d2s", f"http://127.0.0.1:{port}/small"]
    asked = [curl, "--http1.1", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n"]
    asked.append(f"http://127.0.0.1:{port}/hello?[1-500]")
    with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as load:
        lb.wait_records(100)
        with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as curls:
            lb.wait_records(1, target="/hello?10")
            b.child.kill()
            codes = curls.communicate(timeout=60)[0]
        output = load.communicate(timeout=60)[0]
    assert Counter(codes.split()) == {"200": 500}
    assert wrk_is_content(output) > 50
    lb.wait_output("server app/b is down")
    assert {r["status"] for r in lb.records() if r["close"] == "ok"} == {200}


def test_none_left(balancer, nginx, curl):
    origin = nginx("a")
    port = free_port()
    lb = balancer(web(port, origin.address, check=CHECK))
    ask = [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/hello"]
    assert run(ask).stdout == "200"
    origin.child.kill()
    lb.wait_output("server app/a is down")
    assert run(ask).stdout == "503"
    origin.start()
    lb.wait_output("server app/a is up")
    assert run(ask).stdout == "200"
    assert [r["close"] for r in lb.wait_records(3)] == ["ok", "no_server", "ok"]


def test_a_backup_takes_over_and_gives_back(balancer, nginx, curl):
    a, b = nginx("a"), nginx("b")
    port = free_port()
    lb = balancer(web(port, a.address, f"{b.address} backup", check=CHECK))
    ask = [curl, "-sS", f"http://127.0.0.1:{port}/hello?[1-4]"]
    assert run(ask).stdout == "hello from a\n" * 4
    a.child.kill()
    lb.wait_output("server app/a is down")
    assert run(ask).stdout == "hello from b\n" * 4
    a.start()
    lb.wait_output("server app/a is up")
    assert run(ask).stdout == "hello from a\n" * 4
