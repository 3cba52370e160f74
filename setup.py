"""Compiles what lbproxy/compiled.py names, where that is possible; everything else is in setup.cfg.

Without a C compiler or without mypyc, or when compiling fails, the package is the same in pure
Python. ``LBPROXY_COMPILED=0`` asks for that, ``LBPROXY_COMPILED=1`` makes a failure one. To compile
beside the sources, for an editable install: ``python setup.py build_ext --inplace``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "lbproxy"


def module(name: str, path: Path):
    """A file of ours, without importing a package."""
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


compiled = module("compiled", PACKAGE / "compiled.py")
backend = module("backend", ROOT / "tools" / "backend.py")
metadata = module("metadata", ROOT / "tools" / "metadata.py")
MAN = ("docs/man/lbproxy.1", "docs/man/lb.ini.5")  # made by "make man", and for a release
DIRECT = ["-fvisibility=hidden", "-fno-plt"] if sys.platform == "linux" else []
"""Calls among compiled functions do not go through tables of the linker: 3 % fewer instructions."""
URL = os.environ.get("LBPROXY_URL", "").rstrip("/")


class BuildCompiled(build_ext):
    """All modules or none."""

    def finalize_options(self) -> None:
        """Nothing is known of extensions before :meth:`run`: only mypyc can tell, and it takes its
        time.
        """
        self.distribution.ext_modules = self.distribution.ext_modules or []
        super().finalize_options()

    def run(self) -> None:
        """Compile, or say why not."""
        try:
            why = backend.obstacle()
            if why:
                raise RuntimeError(why)
            if not self._copied():
                self._compile()
        except (Exception, SystemExit) as error:
            self.extensions = []
            if backend.demanded():
                raise
            print(f"lbproxy stays pure Python: {error}", file=sys.stderr)

    def _target(self) -> Path:
        return ROOT if self.inplace else Path(self.build_lib)

    def _copied(self) -> bool:
        """Whether what was compiled beside these very sources could be taken."""
        if self.inplace or compiled.trouble(PACKAGE):
            return False
        for path in [
            *ROOT.glob("lbproxy__mypyc.*.so"),
            *PACKAGE.rglob("*.so"),
            PACKAGE / compiled.STAMP,
        ]:
            target = self._target() / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        return True

    @staticmethod
    def _forget() -> None:
        """What an earlier build, perhaps of other modules, left beside the sources."""
        for path in [PACKAGE / compiled.STAMP, *PACKAGE.rglob("*.so")]:
            path.unlink(missing_ok=True)

    def build_extensions(self) -> None:
        """Compile the C files of one extension at once too: nearly all are in one, and setuptools
        spreads only extensions over the cores.
        """
        one_by_one = self.compiler.compile

        def compile_all(sources: list[str], **words: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: one_by_one([source], **words), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = compile_all
        super().build_extensions()

    def _compile(self) -> None:
        from mypyc.build import mypycify

        if self.inplace:
            self._forget()
        sources = compiled.digests(PACKAGE)
        os.chdir(ROOT)  # where mypy finds its options
        self.distribution.ext_modules = mypycify(
            [f"lbproxy/{name}" for name in compiled.MODULES],
            opt_level="2",
            debug_level="0",
            multi_file=True,
            group_name="lbproxy",
        )
        for one in self.distribution.ext_modules:
            one.extra_compile_args += DIRECT
        self.parallel = True
        self.swig_opts = None  # which finalize_options does not take twice
        super().finalize_options()
        super().run()
        stamp = {"suffix": importlib.machinery.EXTENSION_SUFFIXES[0], "sources": sources}
        (self._target() / "lbproxy" / compiled.STAMP).write_text(json.dumps(stamp))


class CompiledDistribution(Distribution):
    """Its wheel is for one Python and one machine if it will be compiled."""

    def has_ext_modules(self) -> bool:
        """Asked before there are any."""
        return not backend.obstacle()


setup(
    cmdclass={"build_ext": BuildCompiled},
    distclass=CompiledDistribution,
    data_files=[(f"share/man/man{name[-1]}", [name]) for name in MAN if (ROOT / name).exists()],
    long_description=metadata.description(ROOT / "README.rst", URL),
    long_description_content_type="text/x-rst",
    project_urls=metadata.addresses(URL),
)
