"""Upgrade in place: a new process takes over the sockets under load, or fails to and the old one
goes on.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
import urllib.error

import pytest

from tests.live.balancer import ONE_TRANSPORT
from tests.live.clients import ThreadServer, connect, heads
from tests.live.test_workers import Clients, api, echoing, say
from tests.support.lb_process import ROOT
from tests.support.ports import free_ports
from tests.support.process import Child, accepts, descendants, lives, until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-workers")]

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class Site:
    """lbproxy with an HTTP frontend on a port and a Unix socket, a TCP one, and its admin side."""

    def __init__(self, folder, echo, transport="epoll", workers=1, *arguments, more=""):
        self.folder = folder
        self.web, self.tcp, self.admin = free_ports(3)
        self.config = folder / "lb.ini"
        self.pidfile = folder / "lb.pid"
        self.socket = folder / "web.sock"
        self.log = folder / "lb.log"
        self.seen = set()
        self.text = (
            f"[lbproxy]\ntransport = {transport}\nworkers = {workers}\ntimeout_shutdown = 20s\n"
            f"admin =\n    tcp:{self.admin}:interface=127.0.0.1\n    unix:{folder}/admin.sock\n"
            f"[frontend web]\nlisten =\n    tcp:{self.web}:interface=127.0.0.1\n"
            f"    unix:{self.socket}:mode=600\nroutes = default -> reply 200 ok\n"
            f"[frontend t]\nmode = tcp\nlisten = tcp:{self.tcp}:interface=127.0.0.1\nbackend = "
            "raw\n"
            f"[backend raw]\nservers = e 127.0.0.1:{echo.port}\n{more}"
        )
        self.config.write_text(self.text)
        self.child = Child(
            [
                *TWISTD,
                *(arguments or ["--nodaemon"]),
                "--pidfile=lb.pid",
                "lbproxy",
                "--config=lb.ini",
            ],
            folder / "output",
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )
        up = until(lambda: accepts(self.admin) and self.pid and self.ready(workers), 60)
        assert up, self.output()

    def ready(self, workers):
        return workers == 1 or self.output().count(" serves (pid") >= workers

    @property
    def pid(self):
        """As the pid file has it."""
        try:
            pid = int(self.pidfile.read_text())
        except (OSError, ValueError):
            return 0
        self.seen |= {pid, *descendants(pid)}
        return pid

    def output(self):
        texts = [self.child.output()]
        if self.log.exists():
            texts.append(self.log.read_text())
        return "".join(texts)

    def ask_unix(self):
        """Over the Unix socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.socket))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
        assert data.startswith(b"HTTP/1.1 200 "), data

    def upgrade(self):
        """Ask for it; the answer."""
        self.pid  # noqa: B018 for the record of processes
        answer = api(self.admin, "upgrade", "POST")
        self.seen |= {answer["pid"], *descendants(answer["pid"])} - {0}
        return answer

    def gone(self, pid):
        assert until(lambda: self.child.process.poll() or not lives(pid)), self.output()

    def close(self):
        pid = self.pid
        for number, limit in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            for one in [pid] if number == signal.SIGTERM else self.seen:
                if one and lives(one):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, number)
            until(lambda: not any(lives(one) for one in self.seen), limit)
        self.child.stop()


@pytest.fixture
def echo():
    with ThreadServer(echoing) as server:
        yield server


@pytest.fixture
def site(tmp_path, echo):
    made = []

    def start(*arguments, **more):
        made.append(Site(tmp_path, echo, *arguments, **more))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("transport", "workers"),
    [
        ("twisted", 1),
        ("epoll", 2),
        pytest.param("epoll", 1, marks=pytest.mark.long),
        pytest.param("twisted", 2, marks=pytest.mark.long),
    ],
)
def test_twice_under_load(site, transport, workers):
    lb = site(transport, workers)
    with Clients(lb.web, 2) as fresh, Clients(lb.web, 2, fresh=False) as kept:
        for _ in range(2):
            fresh.more(20)
            kept.more(20)
            session = connect(lb.tcp)
            say(session)
            old, sockets = lb.pid, os.stat(lb.socket).st_ino
            answer = lb.upgrade()
            assert answer["ok"], answer
            new = answer["pid"]
            assert new != old
            assert until(lambda now=new: lb.pid == now), lb.output()
            fresh.more(50)
            kept.more(50)
            lb.ask_unix()
            assert lives(old), "a session is still open"
            say(session)
            session.close()
            assert until(lambda gone=old: not lives(gone)), lb.output()
            lb.ask_unix()
            with connect(lb.tcp) as again:
                say(again)
            assert os.stat(lb.socket).st_ino == sockets
            assert os.stat(lb.socket).st_mode & 0o777 == 0o600
            assert api(lb.admin, "state")["process"]["pid"] == new
            fresh.more(20)
            kept.more(20)
    assert not fresh.errors and not kept.errors, (fresh.errors, kept.errors, lb.output())
    assert "Traceback" not in lb.output(), lb.output()
    os.kill(new, signal.SIGTERM)
    assert until(lambda: not lives(new))
    assert not lb.pidfile.exists() and not lb.socket.exists()
    assert not (lb.folder / "admin.sock").exists()


@ONE_TRANSPORT
def test_a_configuration_that_is_wrong_leaves_the_old_one(site, transport):
    lb = site(transport)
    old = lb.pid
    lb.config.write_text(lb.text + "[frontend oops]\nlisten = tcp:0\nbakend = x\n")
    answer = lb.upgrade()
    assert not answer["ok"] and "bakend" in answer["error"], answer
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lb.config.write_text(
            lb.text + f"[frontend oops]\nlisten = tcp:{port}:interface=127.0.0.1\n"
            "routes = default -> reply 200\n"
        )
        answer = lb.upgrade()
    assert not answer["ok"] and "another program listens there" in answer["error"], answer
    lb.config.write_text(lb.text.replace("workers = 1", "workers = 2"))
    answer = lb.upgrade()
    assert not answer["ok"] and "number of workers" in answer["error"], answer
    assert lb.pid == old and api(lb.admin, "state")["process"]["pid"] == old
    lb.ask_unix()
    with connect(lb.tcp) as sock:
        say(sock)
    events = api(lb.admin, "events")["items"]
    assert [one["kind"] for one in events].count("upgrade_failed") == 3
    lb.config.write_text(lb.text)
    assert lb.upgrade()["ok"]


def test_a_daemon(site):
    lb = site("epoll", 1, "--logfile=lb.log")
    old = lb.pid
    api(lb.admin, "backends/raw/servers/e", "PATCH", {"admin": "drain"})
    os.kill(old, signal.SIGUSR2)
    assert until(lambda: lb.pid not in (0, old)), lb.output()
    assert until(lambda: not lives(old)), lb.output()
    new = lb.pid
    assert api(lb.admin, "state")["process"]["pid"] == new
    assert api(lb.admin, "backends/raw/servers/e")["state"] == "drain"
    assert f"upgrade: process {new} serves now" in lb.log.read_text()
    assert "upgrade: took over from process" in lb.log.read_text()
    events = api(lb.admin, "events")["items"]
    by_kind = {one["kind"]: one["text"] for one in events}
    assert by_kind["changed"].startswith("raw/e "), "events of the old process"
    assert by_kind["upgrade"] == f"process {new} has taken over from process {old}"
    assert [one["number"] for one in events] == list(range(1, len(events) + 1))


def test_asked_twice_and_a_new_process_that_is_killed(site):
    lb = site()
    old = lb.pid
    # it never becomes ready: its configuration is a pipe that nobody writes to
    lb.config.unlink()
    os.mkfifo(lb.config)
    os.kill(old, signal.SIGUSR2)
    assert until(lambda: descendants(old))
    new = descendants(old)[0]
    lb.seen.add(new)
    answer = api(lb.admin, "upgrade", "POST")
    assert not answer["ok"] and "under way" in answer["error"]
    os.kill(new, signal.SIGKILL)
    assert until(lambda: "was killed by signal 9" in lb.output()), lb.output()
    lb.config.unlink()
    lb.config.write_text(lb.text)
    lb.ask_unix()
    assert lb.upgrade()["ok"]


def test_an_endpoint_cannot_be_handed_over(site):
    (port,) = free_ports(1)
    lb = site()
    lb.config.write_text(
        lb.text + f"[frontend e]\nlisten = haproxy:tcp:{port}:interface=127.0.0.1\n"
        "routes = default -> reply 200\n"
    )
    try:
        report = api(lb.admin, "reload", "POST")
    except urllib.error.HTTPError as error:
        pytest.fail(error.read().decode())
    assert report["ok"], report
    answer = lb.upgrade()
    assert not answer["ok"] and "cannot be handed over" in answer["error"], answer
    assert api(lb.admin, "state")["process"]["pid"] == lb.pid


def test_who_waits_in_a_queue_keeps_the_place(tmp_path, site):
    go_on = threading.Event()

    def serve(sock):
        for _ in heads(sock):
            go_on.wait(60)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    slow = ThreadServer(serve)
    (web,) = free_ports(1)
    more = (
        f"[frontend slow]\nlisten = tcp:{web}:interface=127.0.0.1\nbackend = slow\n"
        f"[backend slow]\nservers = s {slow.address} maxconn=1\n"
    )
    lb = site(more=more)
    clients = [http.client.HTTPConnection("127.0.0.1", web, timeout=60) for _ in range(3)]
    for client in clients:
        client.request("GET", "/")
    assert until(lambda: api(lb.admin, "state")["backends"]["slow"]["queued"] == 2)
    old = lb.pid
    assert lb.upgrade()["ok"]
    go_on.set()
    for client in clients:
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")
        client.close()
    lb.gone(old)
