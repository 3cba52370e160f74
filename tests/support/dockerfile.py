"""Run the steps of a Dockerfile without a builder: each stage is this machine's root under an
overlay, in a chroot.

What the test machine must be is root on Linux with overlay file systems. ``apt-get`` is not run;
the packages it would install must be there. The base image is replaced by this machine with a fresh
environment of Python.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

__all__ = ["Image", "Stage", "parse", "possible"]

PYTHON = "/opt/python-image"
"""Where the environment stands that replaces the Python of the base image."""


@define
class Stage:
    """``name``: as in ``FROM ... AS name``.  ``steps``: (instruction, rest), in order."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(factory=list)


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile.  Comments are dropped and continued lines joined."""
    stages: list[Stage] = []
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].steps.append((word, rest.strip()))
    return stages


def possible() -> str:
    """Why stages cannot be run here, "" if they can."""
    if os.geteuid() != 0:
        return "needs root"
    probe = "d=$(mktemp -d) && mount -t tmpfs t $d && mkdir $d/u $d/w $d/m && "
    probe += "mount -t overlay o -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/m"
    done = subprocess.run(["unshare", "-m", "sh", "-c", probe], capture_output=True)
    return "" if done.returncode == 0 else "cannot mount an overlay"


class Image:
    """The result of a Dockerfile: a root folder, and what to run in it.

    ``folder``: an empty folder.  ``context``: what ``COPY`` copies from.  :meth:`close` it.
    """

    def __init__(self, folder: Path, context: Path) -> None:
        self.folder = folder
        self.context = context
        self.user = "root"
        self.workdir = "/"
        self.command: dict[str, list[str]] = {}
        self.healthcheck: list[str] = []
        self._last = ""
        # a mount namespace of its own, which this process keeps
        self._holder = subprocess.Popen(["unshare", "-m", "sleep", "infinity"])
        self._enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]

    def close(self) -> None:
        """Give the mounts back."""
        self._holder.kill()
        self._holder.wait()

    def build(self, stages: list[Stage]) -> None:
        """Run every step.  Raises CalledProcessError."""
        for number, stage in enumerate(stages):
            self._last = stage.name or str(number)
            self._mount(self.folder / self._last)
            self.user = "root"
            self._run(f"{sys.executable} -m venv --copies {PYTHON}")
            for word, rest in stage.steps:
                self._step(word, rest)

    def _mount(self, stage: Path) -> None:
        for name in ("changes", "work", "root"):
            (stage / name).mkdir(parents=True)
        layers = f"lowerdir=/,upperdir={stage}/changes,workdir={stage}/work"
        root = f"{stage}/root"
        script = f"mount -t overlay overlay -o {layers} {root} && "
        script += f"mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc"
        subprocess.run([*self._enter, "sh", "-c", script], check=True, capture_output=True)

    def _step(self, word: str, rest: str) -> None:
        if word == "RUN":
            if not rest.startswith("apt-get"):
                self._run(rest)
        elif word == "COPY":
            self._copy(rest.split())
        elif word == "USER":
            self.user = rest
        elif word == "WORKDIR":
            self.workdir = rest
        elif word in ("ENTRYPOINT", "CMD"):
            self.command[word] = json.loads(rest)
        elif word == "HEALTHCHECK":
            self.healthcheck = json.loads(rest[rest.index("CMD ") + 4 :])
        elif word not in ("EXPOSE", "STOPSIGNAL"):
            raise ValueError(f"unknown instruction {word}")

    def _copy(self, words: list[str]) -> None:
        here = self.context
        if words[0].startswith("--from="):
            here = self.folder / words.pop(0).removeprefix("--from=") / "root"
        source, target = words
        to = self.folder / self._last / "root" / target.lstrip("/")
        path = here / source.lstrip("/")
        script = f"mkdir -p {to.parent} && cp -rT {path} {to}"
        subprocess.run([*self._enter, "sh", "-c", script], check=True, capture_output=True)

    def words(self, command: list[str], *, user: str = "root", workdir: str = "/") -> list[str]:
        """The command line that runs ``command`` inside."""
        root = self.folder / self._last / "root"
        inside = f"cd {workdir} && exec {shlex.join(command)}"
        if user != "root":
            who = f"--reuid {user} --regid {user} --clear-groups"
            inside = f"exec setpriv {who} sh -c {shlex.quote(inside)}"
        return [*self._enter, "chroot", str(root), "sh", "-c", inside]

    @property
    def environment(self) -> dict[str, str]:
        """What a container starts with: nothing of this process but where pip finds packages."""
        own = {"PATH": f"{PYTHON}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return own | {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

    def _run(self, command: str) -> None:
        line = self.words(["sh", "-c", command])
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The image's command, running as its user; killed at the end if it still runs."""
        words = [*self.command["ENTRYPOINT"], *self.command["CMD"]]
        line = self.words(words, user=self.user, workdir=self.workdir)
        output = subprocess.PIPE
        process = subprocess.Popen(
            line, env=self.environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def healthy(self) -> bool:
        """What the health check says."""
        line = self.words(self.healthcheck, user=self.user, workdir=self.workdir)
        return subprocess.run(line, env=self.environment, capture_output=True).returncode == 0
