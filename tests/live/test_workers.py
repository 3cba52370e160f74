"""Several worker processes behind one address: killed, reloaded, counted and stopped under load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.live.balancer import ONE_TRANSPORT
from tests.live.clients import ThreadServer, connect, heads
from tests.support import dockerfile, interpreter
from tests.support.lb_process import ROOT, LBProcess
from tests.support.ports import free_ports, privileged_port
from tests.support.process import accepts, descendants, until
from tests.support.required import missing

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-workers")]


def echoing(sock):
    """A server's connection."""
    while data := sock.recv(65536):
        sock.sendall(data)


@pytest.fixture
def echo():
    """A TCP server."""
    return ThreadServer(echoing)


class Slow:
    """An HTTP server that takes its time, and knows how many it served at once."""

    def __init__(self, seconds=0.1):
        self.most = self.now = self.served = 0
        self._seconds = seconds
        self._lock = threading.Lock()
        self.server = ThreadServer(self._serve)

    @property
    def address(self):
        return self.server.address

    def _serve(self, sock):
        for _ in heads(sock):
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(self._seconds)
            with self._lock:
                self.now -= 1
                self.served += 1
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Clients:
    """Keep asking on new connections, until told to end; ``fresh``: a connection for each request.

    Each takes a breath between two: processes that start meanwhile need the processor too.
    """

    def __init__(self, port, count=4, *, fresh=True):
        self.port, self.fresh = port, fresh
        self.answers = 0
        self.errors = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count):
        goal = self.answers + count
        assert until(lambda: self.answers >= goal, 60)

    def _run(self):
        client = None
        while not self._over.wait(0.003):
            client = client or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                client.request("GET", "/")
                response = client.getresponse()
                response.read()
                assert response.status == 200, response.status
                self.answers += 1
            except Exception as error:
                self.errors.append(error)
                client.close()
                client = None
                continue
            if self.fresh:
                client.close()
                client = None
        if client is not None:
            client.close()


def say(sock):
    sock.sendall(b"hello")
    assert sock.recv(100) == b"hello"


def workers(lb):
    """The pids of its workers."""
    return descendants(lb.process.pid)


def api(port, path, method="GET", body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Requested-With": "test", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ready(lb, count=2):
    lb.wait_output(" serves (pid", count, timeout=60)
    return lb


WEB = "[frontend web]\nlisten = tcp:{}:interface=127.0.0.1\nbackend = app\n[backend app]\n"


def test_a_killed_worker_costs_only_its_own_connections(balancer, echo):
    web, tcp = free_ports(2)
    text = (
        f"[frontend web]\nlisten = tcp:{web}:interface=127.0.0.1\nroutes = default -> reply 200 "
        "ok\n"
        f"[frontend t]\nmode = tcp\nlisten = tcp:{tcp}:interface=127.0.0.1\nbackend = raw\n"
        f"[backend raw]\nservers = e {echo.address}\n"
    )
    lb = ready(balancer(text, settings="workers = 2"))
    before = workers(lb)
    assert len(before) == 2
    sessions = [connect(tcp) for _ in range(20)]
    for session in sessions:
        say(session)
    with Clients(web) as clients:
        clients.more(50)
        os.kill(before[0], signal.SIGKILL)
        clients.more(300)
        assert until(lambda: len(workers(lb)) == 2 and before[0] not in workers(lb))
        lb.wait_output(" serves (pid", 3, timeout=60)
        clients.more(100)
    # each client may have lost the one request that the killed worker was at; none waits or fails
    # because of it
    assert len(clients.errors) <= 4, clients.errors
    alive = 0
    for session in sessions:
        with contextlib.suppress(OSError):
            session.sendall(b"x")
            alive += session.recv(10) == b"x"
        session.close()
    assert 0 < alive < 20, "those of the other worker live on"
    assert f"was killed by signal 9 (pid {before[0]})" in lb.output()
    for _ in range(10):
        with connect(tcp) as session:
            say(session)


@ONE_TRANSPORT
def test_reloads_and_changes_reach_every_worker(balancer):
    web, admin = free_ports(2)
    slow = [Slow(0.0), Slow(0.0)]
    text = (
        WEB.format(web)
        + "servers =\n"
        + "".join(f"    {name} {one.address}\n" for name, one in zip("ab", slow, strict=True))
    )
    settings = f"workers = 2\nadmin = tcp:{admin}:interface=127.0.0.1"
    lb = ready(balancer(text, settings=settings))
    with Clients(web, 3, fresh=False) as clients:
        clients.more(50)
        api(admin, "backends/app/servers/a", "PATCH", {"admin": "drain"})

        def quiet():
            served = slow[0].served
            clients.more(60)
            return slow[0].served == served

        assert until(quiet), "both workers know it is drained"
        config = lb.process.config.read_text()
        lb.process.config.write_text(config + "    c " + slow[0].address + "\n")
        for _ in range(20):
            lb.process.child.send_signal(signal.SIGHUP)
            clients.more(10)
        assert until(lambda: not quiet()), "c is the same server under another name"
        lb.process.config.write_text(config.replace("workers", "wrokers"))
        lb.process.child.send_signal(signal.SIGHUP)
        lb.wait_output("nothing was changed")
        clients.more(50)
    assert not clients.errors
    total = clients.answers
    assert until(lambda: api(admin, "frontends/web")["requests"] >= total), "the sum of both"
    assert api(admin, "frontends/web")["requests"] == total


@ONE_TRANSPORT
def test_limits_and_leastconn_hold_across_workers(balancer):
    (web,) = free_ports(1)
    slow = Slow(0.15)
    text = WEB.format(web) + f"timeout_queue = 30s\nservers = a {slow.address} maxconn=4\n"
    lb = ready(balancer(text, settings="workers = 2"))
    with Clients(web, 16) as clients:
        clients.more(40)
    assert not clients.errors
    assert lb.process.alive
    assert 3 <= slow.most <= 4


@ONE_TRANSPORT
def test_all_workers_have_one_queue(balancer):
    """Ten keep-alive clients at a server that takes one request at a time: first come, first
    served.
    """
    (web,) = free_ports(1)
    slow = Slow(0.02)
    text = WEB.format(web) + f"timeout_queue = 10s\nservers = a {slow.address} maxconn=1\n"
    ready(balancer(text, settings="workers = 2"))
    served = [0] * 10
    over = threading.Event()
    refused = []

    def ask(number):
        client = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        while not over.is_set():
            client.request("GET", "/")
            answer = client.getresponse()
            answer.read()
            if answer.status != 200:
                refused.append(answer.status)
            served[number] += 1
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    assert until(lambda: sum(served) >= 110, 60)
    counts = list(served)
    over.set()
    for thread in threads:
        thread.join()
    assert not refused and slow.most == 1
    assert max(counts) - min(counts) <= 5, counts


HANGING = """
import time
from lbproxy.http.filter import Filter

class Hang(Filter):
    name = "hang"

    def early(self, exchange):
        if exchange.request.path == b"/hang":
            never_ends()

def never_ends():
    while True:
        time.sleep(1)
"""


@ONE_TRANSPORT
def test_a_worker_that_hangs_is_replaced_and_its_stack_logged(balancer, tmp_path):
    (web,) = free_ports(1)
    (tmp_path / "hang.py").write_text(HANGING)
    text = (
        f"[frontend web]\nlisten = tcp:{web}:interface=127.0.0.1\n"
        f"filters = {tmp_path}/hang.py:Hang\nroutes = default -> reply 200 ok\n"
    )
    lb = ready(balancer(text, settings="workers = 2\nworker_timeout = 3s"))
    before = workers(lb)
    with connect(web) as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: h\r\n\r\n")
        assert until(lambda: set(before) - set(workers(lb)))
        lb.wait_output(" serves (pid", 3, timeout=60)
    output = lb.output()
    assert "has not responded for" in output and "in never_ends" in output
    with Clients(web) as clients:
        clients.more(50)
    assert not clients.errors


LEAVING = """
from lbproxy.http.filter import Filter

class Leave(Filter):
    name = "leave"

    def early(self, exchange):
        if exchange.request.path == b"/leave":
            raise SystemExit(3)

    def finish(self, exchange):
        if exchange.request.path == b"/late":
            raise KeyboardInterrupt
"""


def test_a_filter_that_exits_ends_no_process(tmp_path):
    (web,) = free_ports(1)
    (tmp_path / "leave.py").write_text(LEAVING)
    text = (
        f"[frontend web]\nlisten = tcp:{web}:interface=127.0.0.1\n"
        f"filters = {tmp_path}/leave.py:Leave\nroutes = default -> reply 200 ok\n"
    )
    lb = LBProcess(text, tmp_path / "lb", forked=True)
    client = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
    for path, status in (("/leave", 500), ("/", 200), ("/late", 200), ("/", 200)) * 3:
        client.request("GET", path)
        answer = client.getresponse()
        answer.read()
        assert answer.status == status, path
    client.close()
    assert lb.alive
    lb.stop()


@ONE_TRANSPORT
def test_a_cookie_of_one_worker_is_known_to_the_others(balancer):
    (web,) = free_ports(1)
    slow = Slow(0.0)
    text = (
        WEB.format(web)
        + f"sticky = cookie LB\nservers =\n    a {slow.address}\n    b {slow.address}\n"
    )
    lb = ready(balancer(text, settings="workers = 2"))

    def ask(**headers):
        client = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        client.request("GET", "/", headers=headers)
        response = client.getresponse()
        response.read()
        client.close()
        return response.status, response.headers["Set-Cookie"]

    cookie = ask()[1].partition(";")[0]
    assert [ask(Cookie=cookie) for _ in range(40)] == [(200, None)] * 40
    os.kill(workers(lb)[0], signal.SIGKILL)
    lb.wait_output(" serves (pid", 3, timeout=60)
    assert [ask(Cookie=cookie) for _ in range(40)] == [(200, None)] * 40


@ONE_TRANSPORT
def test_a_sticky_table_is_that_of_all_workers(balancer):
    web, admin = free_ports(2)
    slow = Slow(0.0)
    text = (
        WEB.format(web)
        + "sticky = header X-User\nfilters = set-header response X-Server {server}\n"
        f"servers =\n    a {slow.address}\n    b {slow.address}\n"
    )
    lb = ready(balancer(text, settings=f"workers = 2\nadmin = 127.0.0.1:{admin}"))

    def ask(user):
        client = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        client.request("GET", "/", headers={"X-User": user})
        response = client.getresponse()
        response.read()
        client.close()
        assert response.status == 200
        return response.headers["X-Server"]

    users = [f"user{number}" for number in range(10)]
    first = {user: ask(user) for user in users}
    assert set(first.values()) == {"a", "b"}
    assert until(lambda: api(admin, "backends/app/sticky")["table"]["entries"] == len(users))
    time.sleep(0.5)  # the master knows them and has sent them to the other one
    for _ in range(6):
        assert {user: ask(user) for user in users} == first
    os.kill(workers(lb)[0], signal.SIGKILL)
    lb.wait_output(" serves (pid", 3, timeout=60)
    time.sleep(0.5)
    for _ in range(6):
        assert {user: ask(user) for user in users} == first, "the new worker is told"


@ONE_TRANSPORT
def test_connections_of_one_address_are_limited_across_workers(balancer, echo):
    (port,) = free_ports(1)
    text = (
        f"[frontend raw]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1\nmaxconn_per_ip = 6\n"
        f"backend = app\n[backend app]\nmode = tcp\nservers = a {echo.address}\n"
    )
    ready(balancer(text, settings="workers = 2"))
    held = []
    refused = 0
    try:
        for _ in range(30):
            sock = socket.create_connection(("127.0.0.1", port), 60)
            held.append(sock)
            try:
                say(sock)
            except (OSError, AssertionError):
                refused += 1
        assert refused == 24
    finally:
        for sock in held:
            sock.close()


def test_newcomers_get_the_places_of_idle_connections(balancer):
    """Each worker has ten places: full of idle ones, all of forty newcomers are answered."""
    port, admin = free_ports(2)
    quick = Slow(0)
    ready(
        balancer(
            WEB.format(port).replace("backend", "maxconn = 20\nbackend", 1)
            + f"servers = a {quick.address}\n",
            settings=f"workers = 2\nadmin = 127.0.0.1:{admin}",
        )
    )
    held = []
    try:
        for _ in range(60):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            client.request("GET", "/")
            assert client.getresponse().read() == b"ok"
            held.append(client)
        url = f"http://127.0.0.1:{admin}/metrics"

        def evicted():
            with urllib.request.urlopen(url, timeout=60) as response:
                text = response.read().decode()
            found = re.search(r"evicted_connections_total{[^}]*} (\d+)", text)
            return found and int(found[1])

        assert until(lambda: evicted() == 40), evicted()
    finally:
        for client in held:
            client.close()


def _collect(stream, records):
    with contextlib.suppress(http.client.IncompleteRead):  # the test shuts its socket down
        for line in stream:
            if line.startswith(b"data: {") and b'"close"' in line:
                records.append(json.loads(line[6:]))


@ONE_TRANSPORT
def test_sessions_and_records_of_all_workers(balancer, echo):
    admin, port = free_ports(2)
    text = (
        f"[frontend raw]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1\n"
        f"backend = app\n[backend app]\nmode = tcp\nservers = a {echo.address}\n"
    )
    ready(balancer(text, settings=f"workers = 2\nadmin = 127.0.0.1:{admin}"))
    stream = http.client.HTTPConnection("127.0.0.1", admin, timeout=60)
    stream.request("GET", "/api/v1/logs/stream?frontend=raw")
    records, workers_of = [], {}
    sock_of_stream = stream.sock
    reader = threading.Thread(target=_collect, args=(stream.getresponse(), records), daemon=True)
    reader.start()

    def both_send():
        with connect(port) as sock:
            say(sock)
            for one in api(admin, "sessions")["items"]:
                workers_of[one["client_port"]] = one["id"].partition(".")[0]
        return {workers_of.get(one["client_port"]) for one in records} >= {"0", "1"}

    assert until(both_send)
    assert until(lambda: not api(admin, "sessions")["items"])
    held = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(16)]
    try:
        for sock in held:
            say(sock)
        shown = api(admin, "sessions?frontend=raw&client=127.0.0.1")["items"]
        ports = {sock.getsockname()[1]: sock for sock in held}
        assert {one["client_port"] for one in shown} == set(ports)
        assert {one["id"].partition(".")[0] for one in shown} == {"0", "1"}, "of both"
        assert api(admin, "sessions?limit=5")["more"] is True
        first = shown[0]
        assert api(admin, f"sessions/{first['id']}", "DELETE") == {"killed": 1}
        with pytest.raises(ConnectionResetError):
            ports[first["client_port"]].recv(10)
        assert len(api(admin, "sessions")["items"]) == 15
    finally:
        for sock in held:
            sock.close()
    assert until(lambda: sum(one["client_port"] in ports for one in records) >= 16)
    found = [one for one in records if one["client_port"] in ports]
    assert {one["client_port"] for one in found} == set(ports)
    assert sum(one["close"] == "session_killed" for one in found) == 1
    # closing it waits for the thread that reads it, so the thread has to come to the end first
    sock_of_stream.shutdown(socket.SHUT_RDWR)
    reader.join(60)
    stream.close()


@ONE_TRANSPORT
def test_alerts_see_what_workers_see(balancer):
    (web,) = free_ports(1)
    text = (
        f"[frontend web]\nlisten = tcp:{web}:interface=127.0.0.1\nroutes = default -> reply 404\n"
        "[alerts]\ncommands = /bin/true\nrules = attack volume=1 after=0s\n"
    )
    lb = ready(balancer(text, settings="workers = 2"))
    client = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
    for _ in range(30):
        client.request("GET", "/")
        client.getresponse().read()
    lb.wait_output("bad requests and refused connections from 127.0.0.1 in a minute", 1, timeout=60)
    client.close()


@ONE_TRANSPORT
def test_checks_run_once(balancer):
    (web,) = free_ports(1)
    seen = []

    def healthy(sock):
        seen.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = ThreadServer(healthy)
    text = (
        WEB.format(web) + f"check = http GET /healthz every=200ms\nservers = a {server.address}\n"
    )
    lb = ready(balancer(text, settings="workers = 2"))
    start, count = time.monotonic(), len(seen)
    assert until(lambda: len(seen) >= count + 8)
    assert time.monotonic() - start > 8 * 0.2 * 0.6, "two processes that check take half of it"
    assert lb.process.alive


def test_they_end_with_their_master(echo, tmp_path):
    (tcp,) = free_ports(1)
    text = (
        "[lbproxy]\nworkers = 2\ntimeout_shutdown = 20s\n"
        f"[frontend t]\nmode = tcp\nlisten = tcp:{tcp}:interface=127.0.0.1\nbackend = raw\n"
        f"[backend raw]\nservers = e {echo.address}\n"
    )
    with LBProcess(text, tmp_path, ports=[tcp], forked=True) as lb:
        assert until(lambda: lb.output().count(" serves (pid") == 2, 60)
        pids = descendants(lb.pid)
        session = connect(tcp)
        say(session)
        lb.child.send_signal(signal.SIGTERM)
        assert until(lambda: not accepts(tcp))
        say(session)
        assert lb.alive
        session.close()
        assert until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        assert lb.child.process.wait(60) == -signal.SIGTERM


def test_they_end_without_their_master(echo, tmp_path):
    (tcp,) = free_ports(1)
    text = (
        "[lbproxy]\nworkers = 2\n"
        f"[frontend t]\nmode = tcp\nlisten = tcp:{tcp}:interface=127.0.0.1\nbackend = raw\n"
        f"[backend raw]\nservers = e {echo.address}\n"
    )
    with LBProcess(text, tmp_path, ports=[tcp], forked=True) as lb:
        assert until(lambda: lb.output().count(" serves (pid") == 2, 60)
        pids = descendants(lb.pid)
        lb.child.process.kill()
        lb.child.process.wait(60)
        assert until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    assert not accepts(tcp)


def test_a_daemon_gives_up_root(live_folder):
    why = dockerfile.possible()
    if why:
        missing(why)
    (port,), low = free_ports(1), privileged_port()
    user = pwd.getpwnam("nobody")
    folder = live_folder / "uid"  # pytest makes its own folders private, again and again
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    (folder / "lb.ini").write_text(
        f"[lbproxy]\nworkers = 2\n[frontend w]\nlisten =\n    tcp:{port}:interface=127.0.0.1\n"
        f"    tcp:{low}:interface=127.0.0.1\nroutes = default -> reply 200 ok\n"
    )
    opened = folder / "opened"
    checkout = [f"mkdir -p {opened}/lib", f"mount --bind {ROOT} {opened}/lib"]
    environment = os.environ | interpreter.environment(opened, opened / "lib")
    python = interpreter.program(opened)
    twistd = [python, "-c", "from twisted.scripts.twistd import run; run()"]
    options = [
        "--logfile=lb.log",
        "--pidfile=lb.pid",
        f"--uid={user.pw_uid}",
        f"--gid={user.pw_gid}",
    ]
    command = interpreter.in_namespace(
        [*interpreter.mounts(opened), *checkout],
        [*twistd, *options, "lbproxy", "--config", "lb.ini"],
    )
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60)
    log = folder / "lb.log"
    assert (done.returncode, done.stderr) == (0, b""), log.exists() and log.read_text()
    pid = int((folder / "lb.pid").read_text())
    try:
        assert until(lambda: log.read_text().count(" serves (pid") == 2, 60), log.read_text()
        family = [pid, *descendants(pid)]
        assert len(family) == 3
        for one in family:
            status = Path(f"/proc/{one}/status").read_text()
            assert f"Uid:\t{user.pw_uid}\t{user.pw_uid}" in status
        for address in (port, low):
            client = http.client.HTTPConnection("127.0.0.1", address, timeout=60)
            client.request("GET", "/")
            assert client.getresponse().status == 200
            client.close()
        with socket.create_connection(("127.0.0.1", port)):
            pass
    finally:
        os.kill(pid, signal.SIGTERM)
    assert until(lambda: not any(os.path.exists(f"/proc/{one}") for one in family))
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_signal_cuts_off_what_the_first_lets_finish(tmp_path, count):
    (web,) = free_ports(1)
    slow = Slow(600.0)
    settings = f"[lbproxy]\nworkers = {count}\ntimeout_shutdown = 500s\n"
    lb = LBProcess(
        settings + WEB.format(web) + f"servers = a {slow.address}\n", tmp_path / "lb", forked=True
    )
    if count == 2:
        assert until(lambda: lb.output().count(" serves (pid") == 2, 60)
    started = "one process" if count == 1 else "2 workers"
    assert until(lambda: started in lb.output())
    with connect(web) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert until(lambda: slow.now)
        os.kill(lb.pid, signal.SIGINT)
        assert until(lambda: "a second signal aborts them" in lb.output())
        assert lb.alive
        os.kill(lb.pid, signal.SIGINT)
        assert until(lambda: not lb.alive), "it waits no longer"
    assert "Traceback" not in lb.output()
