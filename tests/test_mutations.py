"""The errors that ``make mutants`` puts into sources."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("mutations")


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("mutantcode")


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ("return a < b", ["return None", "return a <= b"]),
        ("return not a", ["return None", "return a"]),
        ("return a and b or c", ["return None", "return (a and b) and c", "return (a or b) or c"]),
        ("x = 1 + n", ["x = 1 - n", "x = 2 + n"]),
        ("x = b'a'", ["x = b'a~'"]),
        ("self.x = True", ["self.x = None", "self.x = False"]),
        ("self.x = None", []),
        ("call(a)", ["pass"]),
        ("n += 1", ["pass", "n += 2"]),
        ("return None", []),
        ("x: Final[int] = 1", ["x: Final[int] = 2"]),
        ("x = a if b else c", ["x = c if b else a"]),
        ("'text'", []),
        ("raise Error('text')", []),
    ],
)
def test_changes_of_a_statement(tool: Any, body: str, changed: list[str]) -> None:
    source = f"def f(self):\n    {body}\n"
    found = [
        ast.unparse(tool.mutate(source, m.index).body[0].body[0]) for m in tool.mutations(source)
    ]
    assert sorted(found) == sorted(ast.unparse(ast.parse(one)) for one in changed)


def test_conditions_and_loops(tool: Any) -> None:
    source = "def f():\n    while a:\n        if b:\n            break\n        continue\n"
    shown = [(m.line, m.before, m.after) for m in tool.mutations(source)]
    assert shown == [
        (2, "while a:", "while not a:"),
        (3, "if b:", "if not b:"),
        (4, "break", "continue"),
        (5, "continue", "break"),
    ]


def test_declarations_and_docstrings_stay(tool: Any) -> None:
    source = (
        '"""Text."""\nX = 1\nclass C:\n    y: int = 2\n    @mark(3)\n'
        '    def f(self, a: "B" = 4) -> 5:\n        """Text."""\n        return 6\n'
    )
    assert [(m.line, m.before) for m in tool.mutations(source)] == [(8, "return 6"), (8, "6")]


def test_lines_stay_where_they_are(tool: Any) -> None:
    source = "def f(a):\n    if a:\n        return 1\n    return 2\n"
    for mutation in tool.mutations(source):
        tree = tool.mutate(source, mutation.index)
        compile(tree, "x", "exec")
        assert tree.body[0].body[-1].lineno == 4


def test_no_such_mutation(tool: Any) -> None:
    with pytest.raises(IndexError):
        tool.mutate("def f():\n    pass\n", 0)


# -- functions of a running process

SOURCE = """
class A:
    n = 1

    def f(self, x):
        return x > 1

    @property
    def p(self):
        return self.n + 1

    def s(self):
        super().__init__()
        return 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "changing_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("changing_module")
    del sys.modules["changing_module"]


def change(code: Any, module: Any, before: str) -> bool:
    """Put the mutation of ``before`` into the module, and return whether it got there."""
    path = module.__file__
    known = code.functions({path})
    mutations = importlib.import_module("mutations").mutations(SOURCE)
    index = next(m.index for m in mutations if m.before == before)
    return bool(code.replace(code.mutated(path, SOURCE, index), known))


def test_a_method_and_a_property_change(code: Any, module: Any) -> None:
    a = module.A()
    assert (a.f(1), a.p) == (False, 2)
    assert change(code, module, "x > 1")
    assert (a.f(1), a.p) == (True, 2)
    assert change(code, module, "self.n + 1")
    assert (a.f(1), a.p) == (True, 0)


def test_a_function_without_its_outer_variable_is_refused(code: Any, module: Any) -> None:
    with pytest.raises(ValueError, match="free vars"):
        change(code, module, "super().__init__()")
    assert module.A().s() == 2


def test_a_function_that_is_gone_is_not_changed(code: Any, module: Any) -> None:
    del module.A
    gc.collect()
    assert not change(code, module, "x > 1")


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Forks of this process, one at a time."""
    monkeypatch.syspath_prepend(str(TOOLS))
    cover = ModuleType("coverage")  # it is not among the tools of tests
    cover.Coverage = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coverage", cover)
    found = importlib.import_module("mutanttests")
    yield found.Forks(SimpleNamespace(items=[]), 1, str(tmp_path))
    del sys.modules["mutanttests"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ValueError("of the tool"), "not tried, internal error"),
        (KeyboardInterrupt(), "killed"),
        (None, "survived"),
    ],
)
def test_an_error_of_the_trial_kills_no_mutant(
    forks: Any, error: BaseException | None, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    module = sys.modules["mutanttests"]

    def run() -> int:
        if error is not None:
            raise error
        return 0

    tasks = iter([module.Task("one", 60, run)])
    ((_, status),) = forks.run(lambda: next(tasks, None))
    assert module.WORDS.get(status, "killed") == word
    assert ("ValueError: of the tool" in capfd.readouterr().err) == (word.startswith("not tried"))
