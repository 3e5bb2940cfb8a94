"""Mutants: the same module with one thing in it changed."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

OTHER_OPERATOR: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    label: str
    """What mutants.toml calls it: the line of code, and the change."""
    source: str
    """The whole module with the change."""


def mutants_of(root: Path, module: str) -> list[Mutant]:
    """Every mutant of a module of the tree at `root`, in the order of its lines."""
    source = (root / module).read_text(encoding="utf-8")
    tree = ast.parse(source)
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for node, replacement in sorted(_changes(tree), key=lambda change: change[0].lineno):
        before = ast.get_source_segment(source, node)
        if before is None:
            continue
        changed = _spliced(source, node, replacement)
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        line = source.splitlines()[node.lineno - 1].strip()
        label = f"{line} | {' '.join(before.split())} -> {' '.join(replacement.split())}"
        seen[label] += 1
        label += f" ({seen[label]})" if seen[label] > 1 else ""
        found.append(Mutant(module, node.lineno, label, changed))
    return found


def _spliced(source: str, node: ast.expr | ast.stmt, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    return (source.encode()[:start] + text.encode() + source.encode()[end:]).decode()


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Every node to change, and what shall stand in its place."""
    for node in _living(tree):
        if isinstance(node, ast.Compare):
            for at, operator in enumerate(node.ops):
                if (other := OTHER_OPERATOR.get(type(operator))) is not None:
                    ops = [*node.ops[:at], other(), *node.ops[at + 1 :]]
                    yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"  # type: ignore[arg-type]
        elif isinstance(node, ast.BoolOp):
            yield node, f"({ast.unparse(ast.BoolOp(OTHER_OPERATOR[type(node.op)](), node.values))})"  # type: ignore[arg-type]
        elif isinstance(node, ast.BinOp) and (binary := OTHER_OPERATOR.get(type(node.op))) is not None:
            if not isinstance(node.left, ast.JoinedStr) and not isinstance(node.right, ast.JoinedStr):
                yield node, f"({ast.unparse(ast.BinOp(node.left, binary(), node.right))})"  # type: ignore[arg-type]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Constant):
            yield from _constants(node)
        elif isinstance(node, ast.IfExp):
            yield node, f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
        elif isinstance(node, ast.If | ast.While):
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield test, "True"
        else:
            yield from _statements(node)


def _constants(node: ast.Constant) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node.value, int):
        yield node, str(node.value + 1)
    elif isinstance(node.value, float):
        yield node, repr(node.value / 2 + 0.25)


def _statements(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield node, "return None"
    elif isinstance(node, ast.Raise | ast.AugAssign) or _is_call(node):
        yield node, "pass"
    elif isinstance(node, ast.Break):
        yield node, "continue"
    elif isinstance(node, ast.Continue):
        yield node, "break"


def _is_call(node: ast.AST) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _living(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run: no types, but for the calls in those of fields, such as `Field(ge=0)`."""
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name == "returns" or isinstance(node, ast.arg):
                continue
            if isinstance(child, ast.Call) and ast.unparse(child.func) == "lru_cache":
                continue  # How much is remembered changes nothing but the speed.
            if isinstance(node, ast.AnnAssign) and name == "annotation":
                for call in [inner for inner in ast.walk(child) if isinstance(inner, ast.Call)]:
                    yield from _living(call)
            else:
                yield from _living(child)
