"""``make compiled``: install mypyc in this environment if it is missing, and compile the modules in
place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import backend

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """The exit status: a failure is one only where the compiled modules are demanded."""
    why = backend.no_compiler()
    if not why:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *backend.compile_requires()], check=False)
        status = done.returncode or build()
        return status if backend.demanded() else 0
    print(f"lbproxy stays pure Python: {why}")
    return int(backend.demanded())


def build() -> int:
    """Compile, with a line every 15 s: it takes minutes.  The exit status."""
    print(
        "compiling lbproxy: two to four minutes (interrupt, and COMPILED=0 does without)",
        flush=True,
    )
    words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    begun = time.monotonic()
    with subprocess.Popen(words, cwd=ROOT) as process:
        while True:
            try:
                status = process.wait(15)
                break
            except subprocess.TimeoutExpired:
                print(f"  compiling, {time.monotonic() - begun:.0f} s", flush=True)
    if status == 0:
        print(f"compiled in {time.monotonic() - begun:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
