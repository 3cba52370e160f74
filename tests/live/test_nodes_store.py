"""The shared store over TLS, and a master that sentinels replace."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lbproxy.model import SharedSpec
from lbproxy.net.fast import choose_network
from lbproxy.nodes.store import SharedStore
from lbproxy.sharing.local import LocalReplicated
from tests.support.databases import Redis, Sentinel
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.reactor import eventually, run
from tests.support.servers import program
from tests.support.tls import ca_file, issue, write

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-nodes")]


def _store(reactor: Any, url: str, **options: Any) -> SharedStore:
    network = choose_network("auto", reactor)
    replicated = LocalReplicated(network.wheel.now)
    spec = SharedSpec(redis=url, timeout=2.0, **options)
    return SharedStore(spec, reactor, network.dialler, Random(0), replicated)


class TLSRedis(Redis):
    """A Redis whose certificate is for ``name``; ``tls_port`` is the one with TLS."""

    def __init__(self, folder: Path, name: str, *, trusted: bool = True) -> None:
        self.tls_port = free_port()
        certificate = write(issue(name, trusted=trusted), folder)
        options = ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
        options += ["--tls-cert-file", certificate, "--tls-key-file", certificate]
        options += ["--tls-ca-cert-file", ca_file(folder), "--requirepass", "secret"]
        super().__init__(program("redis-server"), folder, options=options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "redis"
    made.mkdir()
    return made


def test_tls_with_an_authority_of_ones_own(folder: Path) -> None:
    redis = TLSRedis(folder, "127.0.0.1")

    async def scenario(reactor: Any) -> None:
        url = f"rediss://:secret@127.0.0.1:{redis.tls_port}/0"
        store = _store(reactor, url, ca=ca_file(folder))
        store.startService()
        try:
            await eventually(reactor, lambda: store.up)
            await store.client.call("SET", "lbproxy:x", "1")
            assert await store.client.call("GET", "lbproxy:x") == b"1"
        finally:
            store.stopService()

    redis.start()
    try:
        run(scenario, strict=False)
    finally:
        redis.stop()


@pytest.mark.parametrize("wrong", ["name", "authority", "no authority", "plain"])
def test_a_certificate_that_does_not_fit_is_refused(folder: Path, wrong: str) -> None:
    """And nothing is sent, the password least of all."""
    name = "other.example" if wrong == "name" else "127.0.0.1"
    redis = TLSRedis(folder, name, trusted=wrong != "authority")

    async def scenario(reactor: Any) -> None:
        port = redis.port if wrong == "plain" else redis.tls_port
        ca = {} if wrong == "no authority" else {"ca": ca_file(folder)}
        store = _store(reactor, f"rediss://:secret@127.0.0.1:{port}/0", **ca)
        store.startService()
        try:
            await eventually(reactor, lambda: store.error != "not connected yet")
            assert not store.up
            assert "secret" not in store.error
            words = {
                "name": "certificate is not for 127.0.0.1",
                "authority": "issuer unknown",
                "no authority": "not trusted",
                "plain": "",
            }
            assert words[wrong] in store.error
        finally:
            store.stopService()

    redis.start()
    try:
        run(scenario, strict=False)
    finally:
        redis.stop()


@pytest.mark.long
def test_a_master_that_sentinels_replace(tmp_path: Path) -> None:
    binary = program("redis-server")
    master = Redis(binary, tmp_path / "master").start()
    replica = Redis(binary, tmp_path / "replica").start()
    replica.command("replicaof", "127.0.0.1", str(master.port))
    sentinel = Sentinel(program("redis-sentinel"), tmp_path / "sentinel", master, quorum=1)

    def watched() -> bool:
        with socket.create_connection(("127.0.0.1", sentinel.port), 60) as asked:
            asked.sendall(b"SENTINEL REPLICAS main\r\n")
            return str(replica.port).encode() in asked.recv(65536)

    async def scenario(reactor: Any) -> None:
        store = _store(reactor, f"sentinel://{sentinel.address}/main")
        store.startService()
        try:
            await eventually(reactor, lambda: store.up)
            await store.client.call("SET", "lbproxy:x", "1")
            await eventually(reactor, lambda: replica.command("GET", "lbproxy:x") == "1", 30)
            master.stop()
            await eventually(reactor, lambda: not store.up)
            await eventually(reactor, lambda: store.up, timeout=60)
            assert await store.client.call("GET", "lbproxy:x") == b"1"
            await store.client.call("SET", "lbproxy:y", "2")
            assert replica.command("GET", "lbproxy:y") == "2", "the replica is the master now"
        finally:
            store.stopService()

    try:
        assert until(watched)
        run(scenario, timeout=150, strict=False)
    finally:
        for one in (sentinel, replica, master):
            one.stop()
