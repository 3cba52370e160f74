"""The container image: its steps run, it serves without root, its health check works, it stops on
SIGTERM.
"""

from __future__ import annotations

import fnmatch
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import dockerfile
from tests.support.lb_process import ROOT
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.required import missing

pytestmark = [pytest.mark.live, pytest.mark.long]


def context(folder: Path) -> Path:
    """What a builder is sent: the files under version control but for those in .dockerignore."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split():
        if name.split("/")[0] in ignored or any(fnmatch.fnmatch(name, one) for one in ignored):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dockerfile.Image]:
    why = dockerfile.possible()
    if why:
        missing(why)
    folder = tmp_path_factory.mktemp("image")
    built = dockerfile.Image(folder, context(tmp_path_factory.mktemp("context")))
    try:
        built.build(dockerfile.parse((ROOT / "Dockerfile").read_text()))
        yield built
    finally:
        built.close()


def configured(image: dockerfile.Image, port: int) -> None:
    """The configuration of the image, on a free port of this machine."""
    path = "/etc/lbproxy/lb.ini"
    listen = f"tcp:{port}:interface=127.0.0.1"
    image._run(f"sed -i 's/listen = tcp:.*/listen = {listen}/' {path}")


def body(port: int) -> bytes:
    """What it answers; b"" while it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def test_the_image_serves_reloads_and_stops(image: dockerfile.Image) -> None:
    assert image.user != "root"
    port = free_port()
    configured(image, port)
    assert not image.healthy(), "nothing runs yet"
    with image.started() as process:
        assert until(lambda: b"lbproxy runs" in body(port)), process.poll()
        assert image.healthy()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "Uid:\t10001\t" in status or f"Uid:\t{_uid(image)}\t" in status
        image._run("sed -i 's/lbproxy runs/lbproxy still runs/' /etc/lbproxy/lb.ini")
        process.send_signal(signal.SIGHUP)
        assert until(lambda: b"still runs" in body(port))
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
        assert process.returncode in (0, -signal.SIGTERM), output  # twistd ends by the signal
    assert b"plugin cache" not in output
    assert b'"status":200' in output.replace(b" ", b""), "requests are logged to standard output"


def _uid(image: dockerfile.Image) -> int:
    line = image.words(["id", "-u", image.user])
    return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def test_the_image_is_compiled(image: dockerfile.Image) -> None:
    line = image.words(["lbproxy", "--version"], user=image.user)
    done = subprocess.run(line, env=image.environment, capture_output=True, text=True, check=True)
    assert "(compiled)" in done.stdout
