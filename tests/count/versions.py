"""The versions that figures depend on: with others they are not comparable."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version

from tests.bench.load import tool

__all__ = ["versions"]

PACKAGES = ("mypy", "cryptography", "pyopenssl", "twisted", "librt", "orjson")


def versions() -> dict[str, str]:
    """Return versions by name; mypy's is that of mypyc."""
    found = {
        "python": f"{platform.python_version()} ({platform.python_build()[1]})",
        "compiler": _said("cc", "--version"),
        "valgrind": _said("valgrind", "--version"),
        "glibc": platform.libc_ver()[1],
        "machine": f"{platform.machine()} {'avx2' if _avx2() else 'without avx2'}",
    }
    return {**found, **{name: _package(name) for name in PACKAGES}}


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _said(program: str, option: str) -> str:
    done = subprocess.run([tool(program), option], capture_output=True, text=True, check=True)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else done.stdout.strip()


def _avx2() -> bool:
    """Whether glibc and OpenSSL choose their AVX2 variants."""
    try:
        with open("/proc/cpuinfo") as file:
            return " avx2 " in file.read()
    except OSError:
        return False
