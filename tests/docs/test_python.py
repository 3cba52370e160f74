"""The Python of the pages runs: block by block, each page one program, its test functions
as tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ..support.reactor import run
from .pages import DOCS, EXAMPLES, ROOT, blocks, furnish, write_captioned

PAGES = ["configuration.rst", "embedding.rst", "extending.rst", "testing.rst", "tls.rst"]


def execute(page: Path) -> dict[str, Any]:
    """Run the blocks of a page in order; the names they define."""
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page, "python"):
        code = "\n" * block.line + block.text
        exec(compile(code, str(page), "exec"), names)
    return names


def functions(names: dict[str, Any]) -> list[Callable[..., Any]]:
    return [value for name, value in names.items() if name.startswith("test_")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", PAGES)
def test_page_runs(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    names = execute(DOCS / name)
    for function in functions(names):
        wanted = inspect.signature(function).parameters
        function(**{fixture: request.getfixturevalue(fixture) for fixture in wanted})


def test_testing_page_has_tests(folder: Path) -> None:
    assert len(functions(execute(DOCS / "testing.rst"))) >= 5


def test_readme_runs(folder: Path, lbproxy_factory: Callable[..., Any]) -> None:
    write_captioned(ROOT / "README.rst", folder)
    config = folder / "lb.ini"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("access_log = access.log json\n", ""), encoding="utf-8")
    names = execute(ROOT / "README.rst")
    tests = functions(names)
    assert tests
    for function in tests:
        function(lbproxy_factory)
    shop = names["balancer"]
    assert sorted(shop.backend("app").group.servers) == ["a", "b"]
    assert names["Nearest"].name == "nearest"


def test_embedding_on_a_real_reactor(folder: Path) -> None:
    """The coroutines of the page, with real sockets on ports the system chooses."""
    names = execute(DOCS / "embedding.rst")

    async def scenario(reactor: Any) -> None:
        await Deferred.fromCoroutine(names["main"](reactor))
        port = await names["listen_too"](reactor)
        assert port.getHost().port > 0
        await port.stopListening()

    run(scenario)


def test_own_balancer_example(lbproxy_factory: Callable[..., Any], folder: Path) -> None:
    text = (EXAMPLES / "alphabetical.ini").read_text(encoding="utf-8")
    lb = lbproxy_factory(text.replace("alphabetical.py", "docs/examples/alphabetical.py"))
    lb.origin("zoe", "127.0.0.1:8001")
    lb.origin("adam", "127.0.0.1:8002")
    assert {lb.get("http://x.example:8080/").server for _ in range(5)} == {"adam"}
