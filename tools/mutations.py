"""Small errors that can be put into a Python source, each at one place: what ``make mutants``
tries.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutation", "mutate", "mutations"]

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutation:
    """One error.  ``index`` is its number among those of the source."""

    index: int
    line: int
    before: str
    after: str


def mutations(source: str) -> list[Mutation]:
    """Return every mutation of a source, always in the same order."""
    return [
        Mutation(index, node.lineno, _short(node), _short(changed))
        for index, (node, changed) in enumerate(_sites(ast.parse(source)))
    ]


def mutate(source: str, index: int) -> ast.Module:
    """Return the source with one mutation; IndexError if it has fewer."""
    tree = ast.parse(source)
    node, changed = list(_sites(tree))[index]
    done = _Replace(node, changed).visit(tree)
    return ast.fix_missing_locations(done)


class _Replace(ast.NodeTransformer):
    """Puts ``changed`` in the place of ``node``."""

    def __init__(self, node: ast.AST, changed: ast.AST) -> None:
        self._node = node
        self._changed = changed

    def visit(self, node: ast.AST) -> ast.AST:
        """See :class:`ast.NodeTransformer`."""
        return self._changed if node is self._node else super().visit(node)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node).splitlines()[0]
    return text if len(text) <= 60 else text[:57] + "..."


def _sites(tree: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, ast.stmt | ast.expr]]:
    """Yield each node that can be changed, and the changed one."""
    for function in _functions(tree):
        for statement in function.body:
            if not _is_text(statement):
                yield from _below(statement)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the outermost functions: bodies of modules and classes are declarations."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
            yield from _functions(node)


def _below(node: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, ast.stmt | ast.expr]]:
    if isinstance(node, ast.stmt | ast.expr):
        for changed in _changes(node):
            yield node, ast.copy_location(changed, node)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield from _below(child)


def _is_text(node: ast.AST) -> bool:
    """Whether it is a docstring, or a name that is quoted for a type checker."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _changes(node: ast.stmt | ast.expr) -> Iterator[ast.stmt | ast.expr]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARE:
            yield ast.Compare(node.left, [_COMPARE[type(operator)]()], node.comparators)
        case ast.BoolOp(op=ast.And()):
            yield ast.BoolOp(ast.Or(), node.values)
        case ast.BoolOp(op=ast.Or()):
            yield ast.BoolOp(ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp(op=operator) if type(operator) in _BINARY:
            yield ast.BinOp(node.left, _BINARY[type(operator)](), node.right)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=bytes()):
            yield ast.Constant(node.value + b"~")
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.If() | ast.While():
            test = ast.UnaryOp(ast.Not(), node.test)
            yield type(node)(test, node.body, node.orelse)
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Assign(targets=[ast.Attribute()]) if not _is_none(node.value):
            yield ast.Assign(node.targets, ast.Constant(None))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
