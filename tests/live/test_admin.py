"""The commands and a real lbproxy: over its unix socket, over TCP with a token, over TLS with a
certificate.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
import trustme
from click.testing import CliRunner, Result

from lbproxy.cli import main
from tests.support.lb_process import LBProcess
from tests.support.ports import free_port, free_ports
from tests.support.process import until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-admin")]

TEXT = """\
[lbproxy]
state = state.json
timeout_shutdown = 1s
admin_tokens = tokens
admin =
    unix:lb.sock
    tcp:{admin}:interface=127.0.0.1

[frontend echo]
mode = tcp
listen = tcp:{port}:interface=127.0.0.1
backend = app

[backend app]
balance = first
servers =
    a 127.0.0.1:{a} weight=3
    b 127.0.0.1:{b}
"""


class Echo(socketserver.ThreadingTCPServer):
    """Sends back what it gets."""

    allow_reuse_address = True
    daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                while data := self.request.recv(4096):
                    self.request.sendall(data)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Site:
    """lbproxy before two echo servers."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = Echo(), Echo()
        self.port, self.admin = free_ports(2)
        self.folder = folder
        folder.mkdir(exist_ok=True)
        tokens = folder / "tokens"
        tokens.write_text("read grafana " + "r" * 20 + "\nwrite alice " + "w" * 20 + "\n")
        tokens.chmod(0o600)
        self.text = TEXT.format(admin=self.admin, port=self.port, a=self.a.port, b=self.b.port)
        self.ports = [self.port, self.admin]  # the last that is bound
        self.lb = LBProcess(self.text, folder, ports=self.ports, forked=True)

    def restart(self) -> None:
        self.lb.stop()
        self.lb = LBProcess(self.text, self.folder, ports=self.ports, forked=True)

    def session(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), 60)
        made.settimeout(60)
        made.sendall(b"hello")
        assert made.recv(5) == b"hello"
        return made

    def stop(self) -> None:
        output = ""
        try:
            self.lb.stop()
            output = self.lb.output()
        finally:
            self.a.shutdown()
            self.b.shutdown()
        assert "Traceback" not in output


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    monkeypatch.chdir(made.folder)
    for name in ("LBPROXY_ADMIN", "LBPROXY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.stop()


def run(*words: str, status: int = 0, **env: str) -> str:
    """Output of a command that ends with ``status``."""
    result: Result = CliRunner().invoke(main, words, env=env)
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output


def test_looking(site: Site) -> None:
    held = site.session()
    text = run("status")
    assert "echo" in text
    assert f"127.0.0.1:{site.port}" in text
    assert "1 of" in text
    state = json.loads(run("status", "--json"))
    assert state["frontends"]["echo"]["active_connections"] == 1
    lines = run("servers").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["SERVER", "STATE"],
        ["app/a", "up"],
        ["app/b", "up"],
    ]
    assert json.loads(run("servers", "app/a", "--json"))["active"] == 1
    assert "app/b" not in run("servers", "app/a")
    assert "no server is in the state down" in run("servers", "--state", "down")
    text = run("sessions")
    assert "127.0.0.1" in text
    assert "app/a" in text
    assert run("sessions", "app/b") == "no sessions\n"
    assert "no listener has TLS" in run("certificates")
    assert f"frontend echo listens on 127.0.0.1:{site.port}" in run("events")
    text = run("metrics", "lbproxy_server_active")
    assert 'lbproxy_server_active{backend="app",server="a"} 1' in text
    assert run("metrics", "--openmetrics").endswith("# EOF\n")
    assert run("drift") == "no run-time changes: running as configured\n"
    held.close()


def test_drain_waits_for_sessions(site: Site) -> None:
    held = site.session()
    text = run("drain", "app/a", "--wait", "1s", status=1)
    assert "app/a: 1 session left after 1 s. To end them: lbproxy kill app/a" in text
    assert run("servers", "app/a", status=1).split()[-4:] != []
    threading.Timer(0.5, held.close).start()
    began = time.monotonic()
    text = run("drain", "app/a", "--wait", "60s")
    assert time.monotonic() - began < 20
    assert "app/a: drained, no sessions left. To return it to service: lbproxy ready app/a" in text
    text = run("ready", "app/a")
    assert "app/a: ready, and now up" in text


def test_changes_survive_a_restart_and_are_drift(site: Site) -> None:
    assert "app/b: weight 5" in run("weight", "app/b", "5")
    assert "app/b: in maintenance" in run("maint", "app/b")
    third = free_port()
    text = run("server", "add", "app", "c", f"127.0.0.1:{third}", "weight=2")
    assert f"app/c: added at 127.0.0.1:{third}, weight 2, up" in text
    assert "app/c: maxconn 7, 0 active" in run("maxconn", "app/c", "7")
    site.restart()
    text = run("drift", status=1)
    assert text.splitlines()[:4] == [
        "app/c added",
        "app/b weight 1 -> 5",
        "app/b ready -> maint",
        "app/c maxconn  -> 7",
    ]
    assert f"    c 127.0.0.1:{third} weight=2 maxconn=7" in text
    assert "running differs from lb.ini: app/b weight 1 -> 5" in run("check", "lb.ini")
    drift = json.loads(run("check", "lb.ini", "--json"))["drift"]
    assert [one["text"] for one in drift] == text.splitlines()[:4]
    assert "5 differences" not in run("status")
    assert "4 differences from the configuration: lbproxy drift" in run("status")
    assert "app/c: removed" in run("server", "remove", "app/c")
    text = run("state", "reset")
    assert text.splitlines() == ["undone: app/b weight 1 -> 5", "undone: app/b ready -> maint"]
    site.restart()
    assert run("drift") == "no run-time changes: running as configured\n"
    assert run("state", "reset") == "nothing to undo: running as configured\n"


def test_kill(site: Site) -> None:
    one, two = site.session(), site.session()
    found = json.loads(run("sessions", "app/a", "--json"))["items"]
    assert [view["client_port"] for view in found] == [one.getsockname()[1], two.getsockname()[1]]
    assert run("kill", "--session", found[0]["id"]) == "1 session ended\n"
    assert gone(one)
    two.sendall(b"still")
    assert two.recv(5) == b"still"
    assert run("kill", "app/a") == "1 session ended\n"
    assert gone(two)
    assert "no such session" in run("kill", "--session", found[0]["id"], status=1)


def gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_reload(site: Site) -> None:
    held = site.session()
    config = site.folder / "lb.ini"
    good = config.read_text()
    config.write_text(good.replace("weight=3", "weight=4"))
    assert "would make 1 change" in run("reload", "--dry-run")
    assert "made 1 change" in run("reload")
    assert json.loads(run("servers", "app/a", "--json"))["weight"] == 4
    run("weight", "app/b", "9")
    config.write_text(good.replace("weight=3", "weight=many"))
    text = run("reload", status=1)
    assert "lb.ini:17" in text
    assert "nothing was changed" in text
    assert "app/a" in run("servers"), "it is found all the same"
    config.write_text(good)
    run("reload")
    assert run("drift", status=1).startswith("app/b weight 1 -> 9\n"), (
        "a reload keeps what it does not say"
    )
    config.write_text(good.replace(f"{site.b.port}", f"{site.b.port} weight=9"))
    run("reload")
    assert run("drift") == "no run-time changes: running as configured\n"
    held.sendall(b"still")
    assert held.recv(5) == b"still"
    assert "reload" in run("events")


def test_events_as_they_come(site: Site, tmp_path: Path) -> None:
    from tests.support.process import Child

    root = Path(__file__).resolve().parents[2]
    follower = Child(
        [os.sys.executable, "-m", "lbproxy", "events", "--follow", "--json"],  # type: ignore[attr-defined]
        tmp_path / "events.log",
        cwd=site.folder,
        env={"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    )
    log = tmp_path / "events.log"
    assert until(lambda: log.exists() and "listener_bound" in log.read_text())
    run("drain", "app/b")
    assert until(lambda: "server_drain" in log.read_text())
    assert until(lambda: '"changed"' in log.read_text())
    follower.stop()


def test_tokens_over_tcp(site: Site, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{site.admin}"
    assert "a token is required" in run("servers", "--admin", url, status=1)
    reader = {"LBPROXY_ADMIN": url, "LBPROXY_TOKEN": "r" * 20}
    assert "app/a" in run("servers", **reader)
    assert "may not do this" in run("weight", "app/a", "9", status=1, **reader)
    file = tmp_path / "token"
    file.write_text("w" * 20 + "\n")
    assert "weight 9" in run("weight", "app/a", "9", "--admin", url, "--token-file", str(file))
    wrong = run("servers", "--admin", url, status=1, LBPROXY_TOKEN="x" * 20)
    assert "unknown token" in wrong
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/metrics", timeout=60)
    assert refused.value.code == 401


def test_tokens_are_read_again_with_a_reload(site: Site) -> None:
    url = f"http://127.0.0.1:{site.admin}"
    (site.folder / "tokens").write_text("read other " + "o" * 20 + "\n")
    run("reload")
    run("servers", "--admin", url, LBPROXY_TOKEN="o" * 20)
    assert "unknown token" in run("servers", "--admin", url, status=1, LBPROXY_TOKEN="r" * 20)
    (site.folder / "tokens").write_text("nonsense")
    assert "not ROLE NAME TOKEN" in run("reload", status=1)
    run("servers", "--admin", url, LBPROXY_TOKEN="o" * 20)


def test_what_is_refused(site: Site) -> None:
    assert "did you mean 'app/a'?" in run("drain", "app/aa", status=1)
    assert "did you mean 'app'?" in run("servers", "ap", status=1)
    assert "already has a server" in run("server", "add", "app", "a", "127.0.0.1:1", status=1)
    assert "did you mean 'weight'?" in run(
        "server", "add", "app", "c", "127.0.0.1:1", "wieght=1", status=1
    )
    run("server", "remove", "app/b")
    assert "last server" in run("server", "remove", "app/a", status=1)


def test_there_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBPROXY_ADMIN", raising=False)
    assert "cannot reach lbproxy at unix:" in run("status", "--admin", f"{tmp_path}/none", status=3)
    url = f"http://127.0.0.1:{free_port()}"
    text = run("drain", "app/a", "--admin", url, status=3)
    assert "Connection refused; is it running with this admin address?" in text
    assert "no lbproxy was specified" in run("status", status=2)
    (tmp_path / "lb.ini").write_text(
        "[frontend w]\nlisten = tcp:1\nbackend = b\n[backend b]\nservers = a 10.0.0.1:1\n"
    )
    assert "has no admin address" in run("status", status=2)
    run("status", "-c", "none.ini", status=1)
    for address in ("ftp://x:1", "http://x", "nonsense", "unix:", "http://[x:1"):
        assert "is not an admin address" in run("status", "--admin", address, status=2)
    run("drain", "app", "--admin", url, status=2)
    run("drain", "--admin", url, status=2)
    run("weight", "app/a", "-1", "--admin", url, status=2)
    run("weight", "app/a", "many", "--admin", url, status=2)
    run("drain", "app/a", "--wait", "5parsecs", "--admin", url, status=2)
    run("kill", "--admin", url, status=2)


def test_something_else_answers(tmp_path: Path) -> None:
    echo = Echo()
    try:
        text = run("status", "--admin", f"http://127.0.0.1:{echo.port}", status=3)
        assert "cannot reach lbproxy" in text
    finally:
        echo.shutdown()


def test_client_certificates(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "lb.pem")
    )
    authority.issue_cert(
        "ops@x.example", common_name="ops"
    ).private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ops.pem"))
    stranger.issue_cert("x.example").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "no.pem")
    )
    port, admin = free_ports(2)
    text = f"""\
        [lbproxy]
        admin = tls:{admin} certificates=lb.pem client_ca=ca.pem
        [frontend web]
        listen = tcp:{port}:interface=127.0.0.1
        routes = default -> reply 200 ok
        """
    with LBProcess(text, tmp_path, ports=[port, admin], forked=True):
        options = ["--admin", f"https://127.0.0.1:{admin}", "--ca", str(tmp_path / "ca.pem")]
        assert "web" in run("status", *options, "--certificate", str(tmp_path / "ops.pem"))
        assert "cannot reach" in run("status", *options, status=3)
        assert "cannot reach" in run(
            "status", *options, "--certificate", str(tmp_path / "no.pem"), status=3
        )
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        context.load_cert_chain(str(tmp_path / "ops.pem"))
        with urllib.request.urlopen(
            f"https://127.0.0.1:{admin}/api/v1/whoami", timeout=60, context=context
        ) as answer:
            assert json.load(answer) == {"name": "ops", "role": "write"}


def test_traffic_does_not_notice_a_scrape(site: Site) -> None:
    """Nobody who asks, however slowly, stops what runs."""
    stuck = [socket.create_connection(("127.0.0.1", site.admin), 60) for _ in range(20)]
    for connection in stuck:
        connection.sendall(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + b"r" * 20
            + b"\r\n\r\n"
        )
    held = site.session()
    for _ in range(50):
        held.sendall(b"hello")
        assert held.recv(5) == b"hello"
    assert json.loads(run("status", "--json"))["process"]["followers"] == 20
    for connection in stuck:
        connection.close()
    assert until(lambda: json.loads(run("status", "--json"))["process"]["followers"] == 0)


def _commands() -> Iterator[Any]:
    def walk(command: Any, words: tuple[str, ...]) -> Iterator[Any]:
        if not isinstance(command, click.Group):
            yield words, command
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*words, name))

    yield from walk(main, ())


COMMANDS = list(_commands())


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=["-".join(one) for one, _ in COMMANDS])
def test_help_has_an_example(words: tuple[str, ...], command: Any) -> None:
    text = run(*words, "--help")
    assert command.get_short_help_str(200), "a line for the list"
    if words[0] not in ("check", "config", "demo", "replay", "run"):
        assert f"lbproxy {' '.join(words)}" in text.partition("Options:")[0].partition("\n\n")[2]
