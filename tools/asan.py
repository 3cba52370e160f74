"""``make asan``: compile with AddressSanitizer, and run the tests of heads on that build.

Compiled modules read and write memory through offsets of their own. A build with
``-fsanitize=address`` ends the process at the first access outside an object. All objects come from
``malloc`` (``PYTHONMALLOC``), so that each has its own boundaries. Only the modules that read
heads and write log lines are compiled, in a copy of the sources. Takes some minutes, needs GCC.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPILED = ("http/", "observe/json", "observe/textlog")
"""Beginnings of names. Interpreted classes of the proxy cannot extend compiled records."""

TESTS = (
    "tests/http/test_scan.py",
    "tests/http/test_h1_fuzz.py",
    "tests/http/test_h1_corpus.py",
    "tests/http/test_h1_parsers.py",
    "tests/http/test_h1_write.py",
    "tests/http/test_forward.py",
    "tests/observe/test_accesslog.py",
    "tests/observe/test_textlog.py",
    "tests/differential",
)
FLAG = "-fsanitize=address"
MARK = b"__asan_report_load"
SETUP = """\
from mypyc.build import mypycify
from setuptools import setup
from lbproxy.compiled import MODULES
names = ["lbproxy/" + name for name in MODULES if name.startswith({compiled})]
options = dict(opt_level="0", debug_level="1", multi_file=True, group_name="lbproxy")
setup(name="asan", packages=[], ext_modules=mypycify(names, **options))
"""
OVERRUN = "import ctypes; print(ctypes.string_at(ctypes.create_string_buffer(8), 4096)[:0])"
WHERE = "import lbproxy.http.scan as scan; print(scan.__file__)"


def main(tests: list[str]) -> int:
    """Return the exit status; ``tests`` replaces :data:`TESTS`."""
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="lbproxy-asan-") as name:
        root = Path(name) / "lbproxy"
        skipped = shutil.ignore_patterns(".*", "build", "*.so", "_build", "*.egg-info")
        shutil.copytree(ROOT, root, ignore=skipped)
        env = {**os.environ, "LBPROXY_COMPILED": "0", "PYTHONPATH": str(root)}
        build(root, env)
        env |= {
            "LD_PRELOAD": found.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONMALLOC": "malloc",
        }
        expect_a_report(env)
        expect_compiled(root, env)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, *(tests or TESTS)], cwd=root, env=env, check=False)
        return done.returncode


def build(root: Path, env: dict[str, str]) -> None:
    """Compile in place; an error if the result does not check its accesses."""
    (root / "setup.py").write_text(SETUP.format(compiled=COMPILED))
    flags = {"CFLAGS": f"{FLAG} -fno-omit-frame-pointer", "LDFLAGS": FLAG}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j2"]
    subprocess.run(command, cwd=root, env={**env, **flags}, check=True)
    if not any(MARK in library.read_bytes() for library in root.glob("lbproxy__mypyc.*.so")):
        sys.exit("the compiled modules do not check their accesses")


def expect_a_report(env: dict[str, str]) -> None:
    """An error if AddressSanitizer does not notice a read beyond an object."""
    command = [sys.executable, "-c", OVERRUN]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    if done.returncode == 0 or b"AddressSanitizer" not in done.stderr:
        sys.exit("AddressSanitizer does not notice a read beyond an object")


def expect_compiled(root: Path, env: dict[str, str]) -> None:
    """An error if the tests would run the sources."""
    command = [sys.executable, "-c", WHERE]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=True)
    if not done.stdout.strip().endswith(".so"):
        sys.exit(f"the tests would run {done.stdout.strip()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
