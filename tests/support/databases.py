"""PostgreSQL, Redis and Redis Sentinel on free ports in temporary folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.ports import free_port
from tests.support.process import Child, NotReady, accepts

__all__ = ["Postgres", "Redis", "Sentinel"]

USER = "postgres"


class Postgres:
    """One PostgreSQL cluster: user ``postgres``, database ``postgres``, no password from 127.0.0.1.

    ``binaries``: the folder with initdb and postgres. As root it runs as the system user
    ``postgres``, so ``folder`` must be reachable for that user. ``source``: become its streaming
    replica. ``hba``: further first lines of pg_hba.conf. ``settings``: of the server, over the
    usual ones.
    """

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        *,
        cores: tuple[int, ...] = (),
        source: Postgres | None = None,
        hba: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.binaries = binaries
        self.folder = folder
        self.data = folder / "data"
        self.cores = cores
        self.settings = dict(settings or {})
        self.port = free_port()
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._own(folder)
        if source is not None:
            self._clone(source)
        else:
            self._initialise()
            rules = self.data / "pg_hba.conf"
            rules.write_text(hba + rules.read_text())

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
            "wal_retrieve_retry_interval": "200ms",  # of a replica whose primary was away
            **self.settings,
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

    def kill(self) -> None:
        """End the server and all its processes without a chance to say good-bye."""
        if self.child is not None:
            self.signal(signal.SIGKILL)
            self.child.process.wait(10)
            self.child = None

    def signal(self, number: int) -> None:
        """Send it to the server and every process of it:

        SIGSTOP freezes all, SIGCONT wakes them.
        """
        assert self.child is not None
        for pid in self.child.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def promote(self) -> None:
        """Be a primary from now on; returns when it is."""
        self.query("select pg_promote(true, 30)")

    def follow(self, source: Postgres) -> None:
        """Be a replica of ``source`` when started next; it must have been stopped in good order."""
        (self.data / "standby.signal").touch()
        self._own(self.data / "standby.signal")
        self.settings["primary_conninfo"] = (
            f"host=127.0.0.1 port={source.port} user={USER} application_name={self.folder.name}"
        )

    def query(self, sql: str, port: int = 0) -> str:
        """What ``psql`` prints for ``sql``, through ``port`` if given."""
        command = [str(self.binaries / "psql"), "-XAtq", "-h", "127.0.0.1", "-U", USER]
        done = subprocess.run(
            [*command, "-p", str(port or self.port), "-d", "postgres", "-c", sql],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, USER, USER)

    def _answers(self) -> bool:
        command = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1"]
        return subprocess.run([*command, "-p", str(self.port)]).returncode == 0

    def _initialise(self) -> None:
        options = ["-A", "trust", "-U", USER, "-N", "--no-instructions", "-E", "UTF8"]
        self._make([str(self.binaries / "initdb"), "-D", str(self.data), *options], "initdb")

    def _clone(self, source: Postgres) -> None:
        options = ["-h", "127.0.0.1", "-p", str(source.port), "-U", USER, "-c", "fast", "-N", "-R"]
        command = [str(self.binaries / "pg_basebackup"), "-D", str(self.data), *options]
        self._make(command, "basebackup")
        self.follow(source)

    def _make(self, command: list[str], name: str) -> None:
        child = Child(
            command,
            self.folder.parent / f"{self.folder.name}-{name}.log",
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
            raise NotReady(f"{name} failed\n{child.output()}")


class Redis:
    """One Redis without persistence; ``options``: further words of its command line."""

    def __init__(
        self,
        binary: str,
        folder: Path,
        *,
        cores: tuple[int, ...] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.cores = cores
        self.options = list(options)
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
        command += ["--repl-diskless-sync-delay", "0"]  # for more replicas than the first
        command += self.options
        self.child = Child(command, self.folder / "output.log", cores=self.cores)
        self.child.wait_ready(lambda: accepts(self.port))
        return self

    def command(self, *words: str) -> str:
        """What ``redis-cli`` prints for it."""
        cli = str(Path(self.binary).with_name("redis-cli"))
        done = subprocess.run(
            [cli, "-p", str(self.port), *words], capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def stop(self) -> None:
        """End it, without the ten seconds in which a master waits for its replicas."""
        if self.child is not None:
            self.child.kill()
            self.child = None


class Sentinel:
    """A Redis Sentinel that watches ``master`` under the name ``main``."""

    def __init__(self, binary: str, folder: Path, master: Redis, *, quorum: int = 2) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor main 127.0.0.1 {master.port} {quorum}\n"
            "sentinel down-after-milliseconds main 1000\n"
            "sentinel failover-timeout main 5000\n"
        )
        self.child = Child([binary, str(config)], folder / "output.log")
        self.child.wait_ready(lambda: accepts(self.port))

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it."""
        self.child.send_signal(signal.SIGCONT)
        self.child.stop()
