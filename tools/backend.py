"""setuptools' build backend, which asks for mypyc only where compiling is wanted and possible."""

from __future__ import annotations

import configparser
import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

ROOT = Path(__file__).resolve().parents[1]


def no_compiler() -> str:
    """Why C cannot be compiled here, "" if it can."""
    if os.environ.get("LBPROXY_COMPILED") == "0":
        return "LBPROXY_COMPILED is 0"
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(command.split()[0]) is None:
        return f"there is no C compiler ({command.split()[0]})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not installed"
    return ""


def obstacle() -> str:
    """Why the modules cannot be compiled here, "" if they can."""
    why = no_compiler()
    if not why and importlib.util.find_spec("mypyc") is None:
        why = "mypyc is not installed"
    return why


def demanded() -> bool:
    """Whether a build that does not compile has failed."""
    return os.environ.get("LBPROXY_COMPILED") == "1"


def _setup(section: str, key: str) -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return [line for line in setup[section][key].split("\n") if line]


def compile_requires() -> list[str]:
    """mypyc and its plugin."""
    return _setup("options.extras_require", "compile")


def _requires() -> list[str]:
    """For an isolated build: mypyc, and what it has to know the types of."""
    if no_compiler():
        return []
    return _setup("options", "install_requires") + compile_requires()


def get_requires_for_build_wheel(config_settings=None):
    """See PEP 517."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_requires()]


def get_requires_for_build_editable(config_settings=None):
    """See PEP 660."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_requires()]
