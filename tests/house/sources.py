"""The package's files as syntax trees, read once for all habit tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "concertina"
TESTS = ROOT / "tests"


@cache
def trees(folder: Path) -> dict[str, ast.Module]:
    """Return path below `folder` -> syntax tree."""
    return {
        str(path.relative_to(folder)): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(folder.rglob("*.py"))
    }


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield (dotted name, call) of every call whose function is a plain or dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.AST) -> str:
    """Return "a.b.c" for names and attributes; a leading dot stands for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of every import; `from a import b` gives both "a" and "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def constant(call: ast.Call, keyword: str) -> object:
    """Return the constant given for `keyword`; None when it is left out or computed."""
    given = next((k.value for k in call.keywords if k.arg == keyword), None)
    return given.value if isinstance(given, ast.Constant) else None


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
