"""PostgreSQL and Redis behind TCP frontends, with their own programs as clients."""

from __future__ import annotations

import signal
import ssl
import subprocess

import pytest

from tests.live.clients import connect, is_closed, run
from tests.support import tls
from tests.support.databases import Redis
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-databases")]


def raw(listen, address, extra=""):
    return (
        f"[frontend db]\nmode = tcp\nlisten = {listen}\nbackend = db\n"
        f"[backend db]\n{extra}\nservers = one {address}\n"
    )


@pytest.fixture
def own_redis(tmp_path):
    """A Redis to stop and kill."""
    server = Redis(program("redis-server"), tmp_path / "redis").start()
    yield server
    server.child.send_signal(signal.SIGCONT)
    server.stop()


# -- PostgreSQL


def test_pgbench(balancer, postgres):
    port = free_port()
    lb = balancer(raw(f"tcp:{port}:interface=127.0.0.1", postgres.address))
    bench = [program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    run([*bench, "-i", "-s", "1", "-q", "postgres"])
    for options in (["-T", "1"], ["-t", "20", "-C"], ["-t", "50", "-S", "-M", "prepared"]):
        done = run([*bench, "-n", "-c", "4", "-j", "2", *options, "postgres"])
        assert "number of failed transactions: 0 (0.000%)" in done.stdout, done.stdout
    assert postgres.query("select count(*) from pgbench_accounts", port) == "100000"
    assert {r["close"] for r in lb.wait_records(80)} == {"ok"}


def test_psql_by_unix_socket(balancer, postgres, live_folder, transport):
    folder = live_folder / f"pg-{transport}"
    folder.mkdir(exist_ok=True)
    path = folder / ".s.PGSQL.5432"
    port = free_port()
    text = raw(f"\n    unix:{path}\n    tcp:{port}:interface=127.0.0.1", postgres.address)
    lb = balancer(text, ports=(port,))
    command = [program("psql"), "-XAtq", "-h", str(folder), "-p", "5432", "-U", "postgres"]
    done = run(
        [*command, "-d", "postgres", "-c", "select sum(i) from generate_series(1, 100000) i"]
    )
    assert done.stdout == "5000050000\n"
    copy = "copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout"
    assert len(run([*command, "-d", "postgres", "-c", copy]).stdout) == 1001 * 20000
    rows = "\n".join(str(i) for i in range(200_000)) + "\n"
    table = "create temp table t (i int); copy t from stdin;"
    script = f"{table}\n{rows}\\.\nselect count(*), sum(i) from t;\n".encode()
    done = run([*command, "-d", "postgres", "-f", "-"], stdin=script)
    assert done.stdout.splitlines()[-1] == "200000|19999900000"
    ended = [r for r in lb.wait_records(3) if r["bytes_in"]]
    assert {(r["listener"], r["close"]) for r in ended} == {(f"unix:{path}", "ok")}


# -- Redis


def test_redis_benchmark(balancer, redis):
    port = free_port()
    lb = balancer(raw(f"tcp:{port}:interface=127.0.0.1", redis.address))
    bench = [program("redis-benchmark"), "-p", str(port), "-q", "-c", "50", "-t", "ping,set,get"]
    for options in (["-n", "2000"], ["-n", "10000", "-P", "16"], ["-n", "500", "-k", "0"]):
        done = run([*bench, *options])
        assert done.stdout.count("requests per second") >= 3, done
        assert "rror" not in done.stdout + done.stderr
    cli = [program("redis-cli"), "-p", str(port)]
    assert run([*cli, "-x", "set", "big"], stdin=b"v" * 5_000_000).stdout == "OK\n"
    assert run([*cli, "strlen", "big"]).stdout == "5000000\n"
    assert run([*cli, "get", "big"]).stdout == "v" * 5_000_000 + "\n"
    run([*cli, "del", "big"])
    records = lb.wait_records(1500)  # -k 0: a connection for each request
    assert {r["close"] for r in records} <= {"ok", "client_gone"}


def test_a_subscription_stays_idle(balancer, redis):
    """Others come and go; the message for it arrives."""
    port = free_port()
    balancer(raw(f"tcp:{port}:interface=127.0.0.1", redis.address))
    cli = [program("redis-cli"), "-p", str(port)]
    with connect(port) as sock:
        sock.sendall(b"SUBSCRIBE news\r\n")
        assert sock.recv(1000).startswith(b"*3\r\n$9\r\nsubscribe")
        for i in range(20):
            assert run([*cli, "set", "k", str(i)]).stdout == "OK\n"
        assert run([*cli, "publish", "news", "hello"]).stdout == "1\n"
        assert sock.recv(1000).endswith(b"$5\r\nhello\r\n")
        sock.sendall(b"QUIT\r\n")
        while sock.recv(1000):
            pass


def test_a_killed_server_ends_the_session(balancer, own_redis):
    port = free_port()
    lb = balancer(raw(f"tcp:{port}:interface=127.0.0.1", own_redis.address))
    with connect(port) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        own_redis.child.kill()
        assert is_closed(sock)
    assert lb.wait_records(1, bytes_in=6)


CHECK = "check = tcp send=PING\\r\\n expect=+PONG every=100ms timeout=200ms rise=1 fall=2\n"


def test_on_down_close(balancer, own_redis):
    """A server that hangs keeps its connections: only the check can tell."""
    port = free_port()
    lb = balancer(
        raw(f"tcp:{port}:interface=127.0.0.1", own_redis.address, CHECK + "on_down = close")
    )
    with connect(port) as sock:
        sock.sendall(b"SUBSCRIBE news\r\n")
        assert sock.recv(1000)
        own_redis.child.send_signal(signal.SIGSTOP)
        assert is_closed(sock)
        assert lb.wait_records(1, close="server_down")[0]["server"] == "one"
        lb.wait_output("server db/one is down")
    own_redis.child.send_signal(signal.SIGCONT)
    lb.wait_output("server db/one is up")
    assert run([program("redis-cli"), "-p", str(port), "ping"]).stdout == "PONG\n"


def test_on_down_keep(balancer, own_redis):
    port = free_port()
    lb = balancer(raw(f"tcp:{port}:interface=127.0.0.1", own_redis.address, CHECK))
    with connect(port) as sock:
        sock.sendall(b"SUBSCRIBE news\r\n")
        assert sock.recv(1000)
        own_redis.child.send_signal(signal.SIGSTOP)
        lb.wait_output("server db/one is down")
        own_redis.child.send_signal(signal.SIGCONT)
        lb.wait_output("server db/one is up")
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"


def test_fails_over_to_the_second(balancer, own_redis, redis):
    port = free_port()
    text = raw(f"tcp:{port}:interface=127.0.0.1", own_redis.address, f"balance = first\n{CHECK}")
    lb = balancer(
        text.replace("servers = one", "servers =\n    one") + f"    two {redis.address}\n"
    )
    cli = [program("redis-cli"), "-p", str(port), "config", "get", "port"]
    assert run(cli).stdout.split() == ["port", str(own_redis.port)]
    own_redis.child.kill()
    assert run(cli).stdout.split() == ["port", str(redis.port)]
    lb.wait_output("server db/one is down")
    assert run(cli).stdout.split() == ["port", str(redis.port)]
    own_redis.start()
    lb.wait_output("server db/one is up")
    assert run(cli).stdout.split() == ["port", str(own_redis.port)]


def test_tls_before_redis(balancer, redis, tmp_path):
    """Redis speaks plain, its clients TLS."""
    authority = tls.ca_file(tmp_path)
    pem = tls.write(tls.issue("redis.test"), tmp_path, "redis")
    port = free_port()
    lb = balancer(raw(f"tls:{port}:interface=127.0.0.1 certificates={pem}", redis.address))
    cli = [program("redis-cli"), "-p", str(port), "--tls", "--cacert", authority]
    cli += ["--sni", "redis.test"]
    assert run([*cli, "-x", "set", "tls"], stdin=b"v" * 3_000_000).stdout == "OK\n"
    assert run([*cli, "get", "tls"]).stdout == "v" * 3_000_000 + "\n"
    run([*cli, "del", "tls"])
    context = ssl.create_default_context(cafile=authority)
    with connect(port) as plain, context.wrap_socket(plain, server_hostname="redis.test") as sock:
        sock.sendall(b"PING\r\nQUIT\r\n")
        data = b""
        while part := sock.recv(100):
            data += part
        assert data == b"+PONG\r\n+OK\r\n"
    records = [r for r in lb.wait_records(4) if r["bytes_in"]]
    assert {(r["tls_version"], r["sni"]) for r in records} == {("TLSv1.3", "redis.test")}


def test_monitor_streams(balancer, redis):
    """A client that only listens while another one works."""
    port = free_port()
    balancer(raw(f"tcp:{port}:interface=127.0.0.1", redis.address))
    command = [program("redis-cli"), "-p", str(port), "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        try:
            assert monitor.stdout.readline() == "OK\n"
            run([program("redis-cli"), "-p", str(port), "set", "monitored", "1"])
            assert until(lambda: '"monitored"' in monitor.stdout.readline())
        finally:
            monitor.terminate()
