"""The compiled modules: used when they fit their sources, never otherwise, and the same classes
either way.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IReadDescriptor,
    ITCPTransport,
)
from zope.interface.verify import verifyClass

from lbproxy import compiled
from lbproxy.balance.hash_ import Hash
from lbproxy.balance.server import ServerCounters
from lbproxy.balance.sticky import Sticky
from lbproxy.balance.stickycookie import CookieSticky
from lbproxy.compiled import MODULES
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.head import Ours, RequestHead, ResponseHead
from lbproxy.http.known import FieldName
from lbproxy.http.route import Route
from lbproxy.http.scan import Lines
from lbproxy.http.template import Template
from lbproxy.net.fastdial import FastDial
from lbproxy.net.poller import Poller
from lbproxy.net.transport import FastTransport
from lbproxy.observe.metrics import BackendCounters, FrontendCounters
from lbproxy.proxy.features.caching.fetch import Fetch
from lbproxy.proxy.features.caching.fetchbody import FetchBody
from lbproxy.proxy.features.caching.reader import Reader
from lbproxy.proxy.frontend import Frontend
from lbproxy.proxy.http.attempt import Attempt
from lbproxy.proxy.http.attempts import Attempts, Servers
from lbproxy.proxy.http.client import H1ClientConnection
from lbproxy.proxy.http.delivery import Delivery
from lbproxy.proxy.http.exchange import Exchange
from lbproxy.proxy.http.server import H1ServerConnection
from lbproxy.proxy.http.traffic import HTTPTraffic
from lbproxy.proxy.policy import Hooks, Policies, RoutePolicy
from lbproxy.proxy.queue import Queue
from lbproxy.proxy.tcp.session import Session
from tests.support.sources import PACKAGE, SOURCES, module_name, modules

pytestmark = SOURCES

ROOT = Path(__file__).resolve().parents[1]
RUNNING = compiled.running() == "compiled"

HOT = (
    FastDial,
    FastTransport,
    Poller,
    Frontend,
    Hooks,
    Policies,
    RoutePolicy,
    FrontendCounters,
    BackendCounters,
    ServerCounters,
    Hash,
    Sticky,
    CookieSticky,
    Template,
    Route,
    Lines,
    FieldName,
    Ours,
    RequestHead,
    ResponseHead,
    RequestParser,
    ResponseParser,
    Forwarder,
    Queue,
    H1ClientConnection,
    H1ServerConnection,
    Exchange,
    Delivery,
    HTTPTraffic,
    Attempts,
    Servers,
    Attempt,
    Session,
    Fetch,
    FetchBody,
    Reader,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package whose binaries fit."""
    for name in MODULES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    stamp(tmp_path)
    return tmp_path


def stamp(folder: Path, **changes: Any) -> None:
    facts = {"suffix": EXTENSION_SUFFIXES[0], "sources": compiled.digests(folder), **changes}
    (folder / compiled.STAMP).write_text(json.dumps(facts))


def test_they_fit(folder: Path) -> None:
    assert compiled.trouble(folder) == ""


def test_a_source_has_changed(folder: Path) -> None:
    (folder / MODULES[-1]).write_text("# something else\n")
    assert "older than their sources" in compiled.trouble(folder)


def test_a_source_is_gone(folder: Path) -> None:
    (folder / MODULES[0]).unlink()
    assert compiled.trouble(folder)


def test_another_python(folder: Path) -> None:
    stamp(folder, suffix=".cpython-27.so")
    assert "another Python" in compiled.trouble(folder)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"suffix": 1}', "\0"])
def test_a_stamp_that_says_nothing(folder: Path, text: str) -> None:
    (folder / compiled.STAMP).write_text(text)
    assert compiled.trouble(folder)


def test_no_stamp(tmp_path: Path) -> None:
    assert compiled.trouble(tmp_path) == "there are no compiled modules"


def python(code: str, path: Path, wish: str | None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != compiled.VARIABLE}
    env["PYTHONPATH"] = str(path)
    if wish is not None:
        env[compiled.VARIABLE] = wish
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, cwd=path, capture_output=True, text=True, timeout=60)


WHERE = "import lbproxy.net.timers as t, lbproxy.compiled as c; print(t.__file__, c.running())"


def test_demanded_and_not_there(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("*.so", compiled.STAMP, "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "lbproxy", ignore=skip)
    done = python(WHERE, tmp_path, None)
    assert done.stdout.startswith(f"{tmp_path}/lbproxy/net/timers.py pure Python: there are no")
    done = python(WHERE, tmp_path, "1")
    assert done.returncode and "LBPROXY_COMPILED is 1, but there are no" in done.stderr


@pytest.mark.skipif(bool(compiled.trouble(PACKAGE)), reason="nothing is compiled here")
def test_binaries_never_hide_changed_sources(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "lbproxy")
    for path in ROOT.glob("lbproxy__mypyc.*"):
        shutil.copy(path, tmp_path)
    assert python(WHERE, tmp_path, None).stdout.endswith(".so compiled\n")
    assert "timers.py pure Python: LBPROXY_COMPILED is 0" in python(WHERE, tmp_path, "0").stdout
    with (tmp_path / "lbproxy" / "net" / "poller.py").open("a") as source:
        source.write("\n")
    done = python(WHERE, tmp_path, None)
    assert "timers.py pure Python: the compiled modules are older" in done.stdout
    assert python(WHERE, tmp_path, "1").returncode


def test_what_runs_is_what_is_said() -> None:
    suffix = ".so" if RUNNING else ".py"
    for name in MODULES:
        found = importlib.import_module(f"lbproxy.{module_name(PACKAGE / name)}")
        assert str(found.__file__).endswith(suffix), name


def test_their_loggers_have_names() -> None:
    """Without one, Logger takes that of the frame that calls it: ``importlib._bootstrap`` where the
    module is compiled.
    """
    unnamed = re.compile(r"\bLogger\((?!__name__\))")
    texts = {name: (PACKAGE / name).read_text(encoding="utf-8") for name in MODULES}
    assert [name for name, text in texts.items() if unnamed.search(text)] == []


def _classes(name: str) -> list[ast.ClassDef]:
    tree = modules()[module_name(PACKAGE / name)]
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _name_of(node: ast.expr) -> str:
    """The last word of ``Name``, ``module.Name``, ``Name[...]`` and ``Name(...)``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_no_interpreted_class_extends_a_compiled_one_that_forbids_it() -> None:
    """It would be a TypeError when an object of it is made, and only where modules are compiled."""
    closed = {
        cls.name
        for name in MODULES
        for cls in _classes(name)
        if "native" not in map(_name_of, cls.decorator_list)
    }
    assert "ConnectionInfo" in closed
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    found = [
        f"{name}: {cls.name}({base})"
        for name in sorted(files - set(MODULES))
        for cls in _classes(name)
        for base in map(_name_of, cls.bases)
        if base in closed
    ]
    assert not found


@pytest.mark.parametrize("cls", HOT)
def test_hot_classes_have_no_dictionary(cls: type) -> None:
    """A decorator or a base that the compiler does not know would make an ordinary class of it,
    silently.
    """
    if RUNNING:
        assert cls.__dictoffset__ == 0


@pytest.mark.parametrize("cls", HOT)
def test_docstrings_are_those_of_the_sources(cls: type) -> None:
    source = PACKAGE.parent / (cls.__module__.replace(".", "/") + ".py")
    assert compiled.docstring(cls)
    assert compiled.docstring(cls).splitlines()[0] in source.read_text(encoding="utf-8")


def shifted_literals(tree: ast.Module) -> list[int]:
    """The lines that shift a literal, or a name that stands for one, by a variable."""
    found: list[int] = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        stores = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        literals = {
            node.target.id
            for node in nodes
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
            and stores.count(node.target.id) == 1
        }
        for node in nodes:
            if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.LShift):
                continue
            by = node.right
            if isinstance(by, ast.Constant) or (isinstance(by, ast.Name) and by.id.isupper()):
                continue
            left = node.left
            if isinstance(left, ast.Constant) or (
                isinstance(left, ast.Name) and left.id in literals
            ):
                found.append(node.lineno)
    return found


def test_no_literal_is_shifted() -> None:
    # in C it has 32 bits
    found = {name: shifted_literals(modules()[module_name(PACKAGE / name)]) for name in MODULES}
    assert [(name, lines) for name, lines in found.items() if lines] == []


def test_what_shifts_a_literal() -> None:
    once = "def f(n: i64) -> i64:\n    one: i64 = 1\n    return one << n\n"
    twice = "def f(n: i64) -> i64:\n    one: i64 = 1\n    one <<= n\n    return one\n"
    name = "def f(n: i64) -> i64:\n    return 1 << n | 1 << HOST\n"
    assert shifted_literals(ast.parse(once)) == [3]
    assert shifted_literals(ast.parse(twice)) == []
    assert shifted_literals(ast.parse(name)) == [2]


def test_docstring_of_an_inner_class_and_of_none() -> None:
    class Inner:
        """Inside."""

    class Bare:
        pass

    assert compiled.docstring(Inner) == "Inside."
    assert compiled.docstring(Bare) == ""


@pytest.mark.parametrize(
    ("interface", "cls"),
    [
        (ITCPTransport, FastTransport),
        (IReadDescriptor, Poller),
        (IProtocol, H1ClientConnection),
        (IHalfCloseableProtocol, H1ClientConnection),
        (IProtocol, H1ServerConnection),
        (IHalfCloseableProtocol, H1ServerConnection),
        (IProtocol, Session),
        (IHalfCloseableProtocol, Session),
    ],
)
def test_interfaces(interface: Any, cls: type) -> None:
    if RUNNING:  # signatures of binaries cannot be read
        assert interface.implementedBy(cls)
        assert all(callable(getattr(cls, name)) for name in interface.names(all=True))
    else:
        assert verifyClass(interface, cls)


def test_a_build_without_a_compiler(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import backend
    finally:
        sys.path.pop(0)
    command = [sys.executable, "setup.py", "-q", "build_ext", "-b", str(tmp_path)]
    env = {**os.environ, "CC": "no-such-compiler", compiled.VARIABLE: ""}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "stays pure Python: there is no C compiler" in done.stderr
    env[compiled.VARIABLE] = "1"
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode and "no C compiler" in done.stderr
    assert any(word.startswith("mypy") for word in backend.compile_requires())


def test_compiling_says_how_long_it_takes_and_how_to_do_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool: Any = importlib.import_module("compile")

    class Compiler:
        waits = 0

        def __init__(self, *words: Any, **more: Any) -> None:
            """Nothing is run."""

        def __enter__(self) -> Compiler:
            return self

        def __exit__(self, *exc: object) -> None:
            """It has ended."""

        def wait(self, seconds: float) -> int:
            self.waits += 1
            if self.waits < 3:
                raise subprocess.TimeoutExpired("compiler", seconds)
            return 0

    monkeypatch.setattr(tool.subprocess, "Popen", Compiler)
    assert tool.build() == 0
    first, *progress, last = capsys.readouterr().out.splitlines()
    assert "two to four minutes" in first and "COMPILED=0" in first
    assert len(progress) == 2 and all("compiling, " in line for line in progress)
    assert last.startswith("compiled in ")


ASKS = re.compile(
    r"compiled\.(running|trouble)\(|import running\b|mark\.(interpreted|compiled)\b"
    r"|\binterpreted: bool"
)
DEPENDING = {
    "conftest.py",  # leaves marked tests out
    "test_compiled.py",
    "test_tap.py",  # the start line
    "live/test_wheel.py",
    "count/__main__.py",
    "count/test_guard.py",
    "differential/__main__.py",
    "differential/test_engines.py",
    "docs/test_architecture.py",
    "http/test_edges.py",
    "http/test_h1_chunks.py",
    "net/test_handshake_turns.py",
    "proxy/http/conftest.py",
    "proxy/http/test_client_states.py",
    "proxy/http/test_server_states.py",
}


def test_few_tests_depend_on_whether_it_is_compiled() -> None:
    """Each of them is in docs/architecture.rst, with the reason."""
    tests = Path(__file__).parent
    asking = {
        str(path.relative_to(tests))
        for path in tests.rglob("*.py")
        if ASKS.search(path.read_text())
    }
    assert asking == DEPENDING
    page = (tests.parent / "docs" / "architecture.rst").read_text(encoding="utf-8")
    page = page.partition("Tests must not depend")[2].partition("Rules for these modules")[0]
    for name in DEPENDING:
        folder, _, file = name.rpartition("/")
        assert (f"``{folder}``" if folder in ("count", "differential") else file) in page, name
