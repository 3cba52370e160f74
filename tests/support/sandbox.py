"""Run the service of a systemd unit without systemd, in a sandbox like the one that it asks for.

The root folder is this machine's, read-only, with a program, its interpreter and a configuration
added by an overlay and mounts. ``unshare`` makes the mount namespace, ``setpriv`` sets user,
capabilities and ``no_new_privs``. Seccomp filters (``SystemCallFilter=`` and others) need systemd
and are left out. Needs root on Linux with overlay file systems.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import interpreter
from tests.support.lb_process import ROOT

__all__ = ["LEFT_OUT", "Sandbox", "directives"]

USER = "daemon"
UID = GID = 1
"""A user that every Linux has, in place of the unit's."""

HOME = "/opt/lbproxy"
"""The folder of the program, in the sandbox."""

REPRODUCED = """
Type NotifyAccess ExecStartPre ExecStart ExecReload User WorkingDirectory UMask LimitNOFILE
AmbientCapabilities CapabilityBoundingSet NoNewPrivileges PrivateTmp ProtectHome ProtectSystem
ProtectProc PrivateDevices ProtectKernelTunables ProtectControlGroups
RuntimeDirectory LogsDirectory StateDirectory
"""
LEFT_OUT = """
SystemCallFilter SystemCallArchitectures RestrictAddressFamilies RestrictNamespaces
RestrictRealtime RestrictSUIDSGID LockPersonality ProtectClock ProtectHostname
ProtectKernelModules ProtectKernelLogs RemoveIPC KillMode TimeoutStopSec WatchdogSec Restart
"""
"""Directives that need seccomp, or that are about the manager and what a service leaves behind."""


def directives(unit: str) -> dict[str, str]:
    """Return the [Service] section of a unit.

    Raises AssertionError for a directive that is neither reproduced nor known to be left out.
    """
    section = unit.partition("[Service]")[2].partition("\n[")[0]
    lines = [line for line in section.splitlines() if "=" in line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    unknown = found.keys() - set(REPRODUCED.split()) - set(LEFT_OUT.split())
    assert not unknown, f"sandbox.py does not know {unknown}"
    return found


class Sandbox:
    """The service of ``unit``, in ``folder``, which everybody must be able to enter.

    ``run``, ``logs`` and ``state`` are its writable folders, seen from outside.
    """

    def __init__(self, folder: Path, unit: str, config: str) -> None:
        self.service = directives(unit)
        self.folder = folder
        self.config = folder / "added/etc/lbproxy/lb.ini"
        self.run, self.logs, self.state = (folder / name for name in ("run", "logs", "state"))
        for path in (self.run, self.logs, self.state):
            path.mkdir()
            os.chown(path, UID, GID)
        for path in ("root", "upper", "added/opt/lbproxy/bin", "added/etc/lbproxy"):
            (folder / path).mkdir(parents=True)
        for path in ("run/lbproxy", "var/log/lbproxy", "var/lib/lbproxy"):
            (folder / "added" / path).mkdir(parents=True)
        skip = shutil.ignore_patterns("__pycache__", "*.so")
        for name in ("lbproxy", "twisted"):
            shutil.copytree(ROOT / name, folder / "added/opt/lbproxy/lib" / name, ignore=skip)
        program = folder / "added/opt/lbproxy/bin/lbproxy"
        variables = interpreter.environment(HOME, f"{HOME}/lib") | {"LBPROXY_COMPILED": "0"}
        lines = ["#!/bin/sh", *(f"export {name}={value}" for name, value in variables.items())]
        lines.append(f'exec {interpreter.program(HOME)} -m lbproxy "$@"\n')
        program.write_text("\n".join(lines))
        program.chmod(0o755)
        self.config.write_text(config)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.run / "notify"))
        os.chown(self.run / "notify", UID, GID)
        self.manager.settimeout(60)

    def script(self, command: Sequence[str]) -> str:
        """Return the shell script that makes the sandbox and runs ``command`` in it."""
        root, upper = f"{self.folder}/root", f"{self.folder}/upper"
        layers = f"lowerdir=/,upperdir={upper}/added,workdir={upper}/work"
        lines = [
            "set -e",
            f"mount -t tmpfs tmpfs {upper} && mkdir {upper}/added {upper}/work",
            f"cp -a {self.folder}/added {upper}",
            f"mount -t overlay overlay -o {layers} {root}",
            *interpreter.mounts(f"{root}{HOME}"),
            f"mount -o remount,ro {root}",  # ProtectSystem=strict
            f"mount --bind {self.config.parent} {root}/etc/lbproxy",
            f"mount -o remount,bind,ro {root}/etc/lbproxy",
            f"mount --bind {self.run} {root}/run/lbproxy",  # RuntimeDirectory
            f"mount --bind {self.logs} {root}/var/log/lbproxy",  # LogsDirectory
            f"mount --bind {self.state} {root}/var/lib/lbproxy",  # StateDirectory
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",  # PrivateTmp
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/var/tmp",
            f"mount -t tmpfs -o ro,mode=000 tmpfs {root}/root",  # ProtectHome
            f"mount -t tmpfs -o ro,mode=000 tmpfs {root}/home",
            f"mount -t proc -o hidepid=invisible proc {root}/proc",  # ProtectProc
            f"mount --bind -o ro {root}/proc/sys {root}/proc/sys",  # ProtectKernelTunables
            f"mount -o remount,bind,ro {root}/proc/sys",
            f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",  # PrivateDevices
        ]
        for name in ("null", "zero", "full", "random", "urandom"):
            lines += [f"touch {root}/dev/{name}", f"mount --bind /dev/{name} {root}/dev/{name}"]
        inside = f"umask {self.service['UMask']}; cd {self.service['WorkingDirectory']}; "
        inside += (
            f"ulimit -n {min(int(self.service['LimitNOFILE']), 4096)}; exec {shlex.join(command)}"
        )
        lines.append(shlex.join(["exec", "chroot", root, *self._privileges(), "sh", "-c", inside]))
        return "\n".join(lines)

    def _privileges(self) -> list[str]:
        bounding, ambient = (
            ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in value.split())])
            for value in (
                self.service["CapabilityBoundingSet"],
                self.service["AmbientCapabilities"],
            )
        )
        words = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups"]
        words += [
            f"--bounding-set={bounding}",
            f"--inh-caps={ambient}",
            f"--ambient-caps={ambient}",
        ]
        return [*words, "--no-new-privs"] if self.service["NoNewPrivileges"] == "yes" else words

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command line for ``command`` in the sandbox."""
        return ["unshare", "--mount", "--propagation=private", "sh", "-c", self.script(command)]

    def environment(self) -> dict[str, str]:
        """Return what systemd sets."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8", "NOTIFY_SOCKET": "/run/lbproxy/notify"}

    def check(self) -> subprocess.CompletedProcess[str]:
        """Run ExecStartPre."""
        return self.once(shlex.split(self.service["ExecStartPre"]))

    def once(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(command),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Run ExecStart; its output goes to ``log``."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command(shlex.split(self.service["ExecStart"])),
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def notified(self, word: str) -> str:
        """Wait for a notification that contains ``word``, and return it."""
        while True:
            text = self.manager.recv(4096).decode()
            if word in text:
                return text

    def close(self) -> None:
        """Close the socket of the manager."""
        self.manager.close()
