"""MariaDB on a free port in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.ports import free_port
from tests.support.process import Child, NotReady, find_binary

__all__ = ["MariaDB"]

USER = "mysql"


class MariaDB:
    """One server with GTIDs and a binary log; ``root`` without a password through its Unix socket.

    As root it runs as the system user ``mysql``, so ``folder`` must be reachable for that user.
    ``options``: further words of its command line.  ``like``: a server that was never started;
    copying its files is quicker than installing them.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        number: int,
        *,
        options: Sequence[str] = (),
        like: MariaDB | None = None,
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.number = number
        self.options = list(options)
        self.port = free_port()
        self.socket = folder / "s.sock"
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        if like is None:
            self._install()
        else:
            subprocess.run(["cp", "-a", like.folder / "data", folder], check=True)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> MariaDB:
        """Start (again) on the same port and wait until it answers."""
        self.child = Child(
            [
                self.binary,
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--socket={self.socket}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--server-id={self.number}",
                f"--pid-file={self.folder / 'pid'}",
                "--log-bin=binlog",
                "--log-slave-updates",
                "--gtid-strict-mode=1",
                "--skip-name-resolve",
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-buffer-pool-size=32M",
                *self.options,
            ],
            self.folder.parent / f"{self.folder.name}.log",
            cwd=self.folder,
            demote=USER,
        )
        self.child.wait_ready(self._answers, 60)
        return self

    def stop(self) -> None:
        """End it in good order."""
        if self.child is not None:
            self.child.send_signal(signal.SIGCONT)
            self.child.stop(timeout=60)
            self.child = None

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def query(self, sql: str) -> str:
        """What the client prints for ``sql``, as root."""
        client = find_binary("mariadb") or "mysql"
        done = subprocess.run(
            [client, "--no-defaults", f"--socket={self.socket}", "-u", "root", "-NB", "-e", sql],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def follow(self, source: MariaDB) -> None:
        """Be a replica of ``source``, by GTID."""
        self.query(
            "STOP SLAVE; CHANGE MASTER TO master_host='127.0.0.1', "
            f"master_port={source.port}, master_user='repl', master_password='repl', "
            "master_connect_retry=1, master_use_gtid=slave_pos; START SLAVE"
        )

    def _answers(self) -> bool:
        with contextlib.suppress(RuntimeError):
            return self.query("SELECT 1") == "1"
        return False

    def _install(self) -> None:
        program = find_binary("mariadb-install-db")
        if program is None:
            raise NotReady("mariadb-install-db is not installed")
        command = [program, "--no-defaults", f"--datadir={self.folder / 'data'}"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        if os.geteuid() == 0:
            command.append(f"--user={USER}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise NotReady(f"mariadb-install-db failed\n{done.stdout}\n{done.stderr}")
