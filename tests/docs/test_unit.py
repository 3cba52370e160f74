"""The unit for systemd: valid, confined, and with the folders that the documentation uses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from .pages import DOCS

UNIT = (DOCS / "examples" / "lbproxy.service").read_text()
ANALYZE = shutil.which("systemd-analyze")
analyzed = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With a program that exists in place of the installed one, and a user that does."""
    path = folder / "lbproxy.service"
    text = UNIT.replace("/opt/lbproxy/bin/lbproxy", sys.executable)
    path.write_text(text.replace("User=lbproxy", "User=daemon"))
    command = [str(ANALYZE), *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@analyzed
def test_it_is_valid(tmp_path: Path) -> None:
    done = analyze(tmp_path, "verify", "--man=no")
    ours = [line for line in done.stderr.splitlines() if "lbproxy.service" in line]
    assert not ours and done.returncode == 0, done.stderr


@analyzed
def test_it_is_confined(tmp_path: Path) -> None:
    done = analyze(tmp_path, "security", "--offline=yes", "--threshold=30")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


CONFINED = """
NoNewPrivileges PrivateTmp PrivateDevices ProtectHome ProtectClock ProtectControlGroups
ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables LockPersonality
RestrictNamespaces RestrictRealtime RestrictSUIDSGID RemoveIPC
"""


@pytest.mark.parametrize("directive", CONFINED.split())
def test_a_directive_that_confines_it_stays(directive: str) -> None:
    """The score of systemd-analyze has room for the loss of one."""
    assert f"\n{directive}=yes\n" in UNIT


@pytest.mark.parametrize("kind", ["Runtime", "Logs", "State"])
def test_it_has_the_folders_that_lbproxy_writes(kind: str) -> None:
    assert re.search(rf"^{kind}Directory=lbproxy$", UNIT, re.MULTILINE)


def test_the_container_has_every_extra_that_a_configuration_may_need() -> None:
    """Without one of them a key that works elsewhere would be an error in the image."""
    setup = ConfigParser()
    setup.read(DOCS.parent / "setup.cfg")
    development = {"compile", "test", "dev", "docs"}
    wanted = set(setup["options.extras_require"]) - development
    installed = re.findall(r"\[([\w,]+)\]\"", (DOCS.parent / "Dockerfile").read_text())
    assert len(installed) == 2
    assert all(wanted <= set(one.split(",")) for one in installed)
