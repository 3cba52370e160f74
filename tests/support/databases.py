"""PostgreSQL and Redis on free ports in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.ports import free_port
from tests.support.process import Child, NotReady, accepts

__all__ = ["Postgres", "Redis"]

USER = "postgres"


class Postgres:
    """One PostgreSQL cluster: user ``postgres``, database ``postgres``, no password from 127.0.0.1.

    ``binaries``: the folder with initdb and postgres.  As root it runs as the system user ``postgres``, so
    ``folder`` must be reachable for that user.
    """

    def __init__(self, binaries: Path, folder: Path, *, cores: tuple[int, ...] = ()) -> None:
        self.binaries = binaries
        self.folder = folder
        self.data = folder / "data"
        self.cores = cores
        self.port = free_port()
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        self._initialise()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Postgres:
        """Start (again) on the same port and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "200",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.child = Child(
            [str(self.binaries / "postgres"), "-D", str(self.data), *options],
            self.folder.parent / f"{self.folder.name}.log",
            cwd=self.folder,
            cores=self.cores,
            demote=USER,
        )
        self.child.wait_ready(self._answers, 30)
        return self

    def stop(self) -> None:
        """Fast shutdown: sessions are cut."""
        if self.child is not None:
            self.child.stop(signal.SIGINT)
            self.child = None

    def query(self, sql: str, port: int = 0) -> str:
        """What ``psql`` prints for ``sql``, through ``port`` if given."""
        command = [str(self.binaries / "psql"), "-XAtq", "-h", "127.0.0.1", "-U", USER]
        done = subprocess.run(
            [*command, "-p", str(port or self.port), "-d", "postgres", "-c", sql],
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def _answers(self) -> bool:
        command = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1"]
        return subprocess.run([*command, "-p", str(self.port)]).returncode == 0

    def _initialise(self) -> None:
        options = ["-A", "trust", "-U", USER, "-N", "--no-instructions", "-E", "UTF8"]
        child = Child(
            [str(self.binaries / "initdb"), "-D", str(self.data), *options],
            self.folder.parent / f"{self.folder.name}-initdb.log",
            cwd=self.folder,
            env={"LC_ALL": "C"},
            demote=USER,
        )
        try:
            failed = child.process.wait(120)
        except subprocess.TimeoutExpired:
            child.kill()
            failed = 1
        if failed:
            raise NotReady(f"initdb failed\n{child.output()}")


class Redis:
    """One Redis without persistence."""

    def __init__(self, binary: str, folder: Path, *, cores: tuple[int, ...] = ()) -> None:
        self.binary = binary
        self.folder = folder
        self.cores = cores
        self.port = free_port()
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Redis:
        """Start (again) on the same port and wait until it accepts."""
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(self.folder), "--tcp-backlog", "2048"]
        self.child = Child(command, self.folder / "output.log", cores=self.cores)
        self.child.wait_ready(lambda: accepts(self.port))
        return self

    def stop(self) -> None:
        """End it."""
        if self.child is not None:
            self.child.stop()
            self.child = None
