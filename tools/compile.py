"""``make compiled``: mypyc into this environment if it is not there, then the compiled modules beside the sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import backend

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """The exit status: a failure is one only where the compiled modules are demanded."""
    why = backend.no_compiler()
    if not why:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *backend.compile_requires()], check=False)
        print("compiling lbproxy (a minute or two; COMPILED=0 does without) ...", flush=True)
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(build, cwd=ROOT, check=False) if done.returncode == 0 else done
        return done.returncode if backend.demanded() else 0
    print(f"lbproxy stays pure Python: {why}")
    return int(backend.demanded())


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
