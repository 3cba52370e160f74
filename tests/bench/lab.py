"""What a bench run needs: cores, a folder, a certificate, and origins, started when first used."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from shutil import rmtree

from tests.bench.heads import asking_for, browser_mix
from tests.bench.load import run_tool, tool
from tests.support.databases import Postgres, Redis
from tests.support.nginx import NginxOrigin
from tests.support.ports import free_port
from tests.support.process import Child, accepts

__all__ = ["Lab"]


class Lab:
    """A context manager that stops what it started and removes its folder.

    The proxy gets the first core. Everything else, this process too, gets the others, if any.
    """

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_cores = cores[:1]
        self.load_cores = cores[1:] or cores
        self.folder = Path(tempfile.mkdtemp(prefix="lbproxy-bench-"))
        self.folder.chmod(0o755)
        self._stop: list[Child | NginxOrigin | Postgres | Redis] = []

    def __enter__(self) -> Lab:
        os.sched_setaffinity(0, self.load_cores)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return self

    def __exit__(self, *exc: object) -> None:
        for server in reversed(self._stop):
            server.stop()
        rmtree(self.folder, ignore_errors=True)

    @cached_property
    def origins(self) -> tuple[str, str]:
        """Two nginx origins."""
        found = []
        for name in "ab":
            folder = self.folder / f"origin-{name}"
            folder.mkdir()
            origin = NginxOrigin(tool("nginx"), folder, name, cores=tuple(self.load_cores))
            self._stop.append(origin.start())
            found.append(origin.address)
        return found[0], found[1]

    @cached_property
    def browser_mix(self) -> Path:
        """A file of requests by fifty browsers in turn."""
        path = self.folder / "browser-mix"
        path.write_bytes(b"".join(browser_mix()))
        return path

    def replay(self, name: str, targets: Iterator[bytes]) -> Path:
        """Write a file of requests by fifty browsers in turn for ``targets``, once per name."""
        path = self.folder / name
        if not path.exists():
            path.write_bytes(b"".join(map(asking_for, targets, browser_mix())))
        return path

    @cached_property
    def sink(self) -> tuple[str, str]:
        """One sink, twice."""
        port = free_port()
        script = str(Path(__file__).with_name("sink.py"))
        log = self.folder / "sink.log"
        child = Child([sys.executable, script, str(port)], log, cores=tuple(self.load_cores))
        self._stop.append(child)
        child.wait_ready(lambda: accepts(port))
        return f"127.0.0.1:{port}", f"127.0.0.1:{port}"

    @cached_property
    def redis(self) -> tuple[str, str]:
        """One Redis, twice."""
        server = Redis(tool("redis-server"), self.folder / "redis", cores=tuple(self.load_cores))
        self._stop.append(server.start())
        return server.address, server.address

    @cached_property
    def postgres(self) -> tuple[str, str]:
        """One PostgreSQL with pgbench's tables, twice."""
        binaries = Path(tool("initdb")).resolve().parent
        server = Postgres(binaries, self.folder / "postgres", cores=tuple(self.load_cores))
        self._stop.append(server.start())
        where = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
        run_tool([tool("pgbench"), *where, "-i", "-q", "postgres"], 120)
        return server.address, server.address

    @cached_property
    def certificate(self) -> Path:
        """A P-256 key and certificate in one PEM file."""
        import trustme

        issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(
            "www.example.com", "127.0.0.1", key_type=trustme.KeyType.ECDSA
        )
        path = self.folder / "site.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path
