"""Message brokers for tests:

RabbitMQ, Mosquitto and NATS, each in a folder of its own, on free ports.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.ports import free_port, free_ports
from tests.support.process import Child, accepts, find_binary, until

__all__ = ["Mosquitto", "Nats", "RabbitMQ"]


class RabbitMQ:
    """One RabbitMQ node with its own Erlang port mapper, both on loopback.

    ``users``: name -> password, with all rights. It keeps its data over ``stop``, ``kill`` and
    ``start``. Packages start RabbitMQ through a script that wants root; ``find`` gives the one
    behind it.
    """

    def __init__(self, binary: str, folder: Path, users: dict[str, str]) -> None:
        self.binary = binary
        self.folder = folder
        self.port, self._dist, self._epmd = free_ports(3)
        self.child: Child | None = None
        self._mapper: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
            "disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 2GB\n"
            f"load_definitions = {folder / 'definitions.json'}\n"
        )
        (folder / "definitions.json").write_text(json.dumps(_definitions(users)))
        (folder / "plugins").write_text("[].\n")
        self._env = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"lb{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel "
            "inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_MAX_PORTS": "1024",
        }

    @staticmethod
    def find() -> str | None:
        """The program, or None."""
        path = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return str(path) if path.exists() else None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> RabbitMQ:
        """Start (again) on the same port and wait until it takes connections."""
        if self._mapper is None:
            command = [
                find_binary("epmd") or "epmd",
                "-port",
                str(self._epmd),
                "-address",
                "127.0.0.1",
            ]
            self._mapper = Child(command, self.folder / "epmd.log", cwd=self.folder)
            self._mapper.wait_ready(lambda: accepts(self._epmd))
        self.child = Child(
            [self.binary], self.folder / "output.log", cwd=self.folder, env=self._env
        )
        self.child.wait_ready(self._answers, 120)
        return self

    def control(self, *words: str) -> None:
        """``rabbitmqctl``."""
        command = [str(Path(self.binary).with_name("rabbitmqctl")), *words]
        env = {**os.environ, **self._env}
        subprocess.run(
            command, env=env, cwd=self.folder, check=True, capture_output=True, timeout=60
        )

    def _answers(self) -> bool:
        """It greets a client: the port is open a while before that."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 2) as sock,
        ):
            sock.sendall(b"AMQP\0\0\x09\x01")
            return sock.recv(1) == b"\x01"
        return False

    def stop(self) -> None:
        """In good order."""
        if self.child is not None:
            self._signal_beam(signal.SIGTERM)
            until(lambda: self.child is not None and not self.child.alive, 30)
            self.child.kill()
            self.child = None

    def kill(self) -> None:
        """Without a chance to say good-bye."""
        if self.child is not None:
            self._signal_beam(signal.SIGKILL)
            self.child.kill()
            self.child = None

    def pause(self) -> None:
        """It hangs."""
        self._signal_beam(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal_beam(signal.SIGCONT)

    def end(self) -> None:
        """Stop it and its port mapper."""
        with contextlib.suppress(ProcessLookupError):
            self.resume()
        self.kill()
        if self._mapper is not None:
            self._mapper.stop()
            self._mapper = None

    def _signal_beam(self, number: int) -> None:
        """To the emulator, which is a child of the script that was started."""
        assert self.child is not None
        for pid in self.child.pids:
            name = Path(f"/proc/{pid}/comm")
            with contextlib.suppress(OSError):
                if name.read_text().startswith("beam"):
                    os.kill(pid, number)


def _definitions(users: dict[str, str]) -> dict[str, object]:
    """Users with all rights in the virtual host ``/``."""
    everything = {"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": name,
                "password_hash": _password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
            for name, password in users.items()
        ],
        "permissions": [{"user": name, **everything} for name in users],
    }


def _password_hash(password: str) -> str:
    salt = b"salt"
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class _Plain:
    """A server that is one process."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_port()
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self):  # type: ignore[no-untyped-def]
        """Start (again) on the same port and wait until it accepts."""
        self.child = Child(self.command(), self.folder / "output.log", cwd=self.folder)
        self.child.wait_ready(lambda: accepts(self.port))
        return self

    def stop(self) -> None:
        """In good order."""
        if self.child is not None:
            self.child.send_signal(signal.SIGCONT)
            self.child.stop()
            self.child = None

    def kill(self) -> None:
        """Without a chance to say good-bye."""
        if self.child is not None:
            self.child.kill()
            self.child = None


class Mosquitto(_Plain):
    """One Mosquitto.  ``users``: name -> password; nobody else may log in then."""

    def __init__(self, binary: str, folder: Path, users: dict[str, str] | None = None) -> None:
        super().__init__(binary, folder)
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest stderr"]
        if users:
            lines += ["allow_anonymous false", f"password_file {folder / 'users'}"]
            (folder / "users").touch(0o600)
            for name, password in users.items():
                tool = find_binary("mosquitto_passwd") or "mosquitto_passwd"
                subprocess.run([tool, "-b", str(folder / "users"), name, password], check=True)
            (folder / "users").chmod(0o644)
        else:
            lines.append("allow_anonymous true")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        """Its command line."""
        return [self.binary, "-c", str(self.folder / "mosquitto.conf")]


class Nats(_Plain):
    """One NATS server.  ``more``: lines of its configuration."""

    def __init__(self, binary: str, folder: Path, more: str = "") -> None:
        super().__init__(binary, folder)
        (folder / "nats.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\nlame_duck_grace_period: "1s"\nlame_duck_duration: '
            f'"30s"\n{more}\n'
        )

    def command(self) -> list[str]:
        """Its command line."""
        return [self.binary, "-c", str(self.folder / "nats.conf")]
