"""House habits that no linter knows."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import tomllib

import pytest
from tests.house.sources import PACKAGE, ROOT, TESTS, calls, dotted, functions, imports, trees

BANNED = {"utils", "helpers", "common", "manager", "misc", "my", "tmp"}
PART_ROOMS = ("axes", "score", "load/zoo", "load/sources", "modules", "audits")
REGISTERING_ROOMS = (*PART_ROOMS, "objective", "train")
NO_PART = {"__init__", "base", "classwise"}
CHECKS = re.compile(r"(^|\.)(assert|check|expect|golden|raises|warns|fail)(_|$|s$)|(^|\.)assert\w*$")
MACHINE_PATH = re.compile(r"(?<![\w./~])(?!/mnt/models\b)/(?:home|root|work|Users|opt|mnt|srv)/\w")
"""A path of some machine; where KServe puts a model is the same on all."""
PACKAGE_HOST = re.compile(r"(?:index-url|find-links|trusted-host)\s*=\s*\w", re.IGNORECASE)
TEXT = {".py", ".md", ".toml", ".txt", ".csv", ".json", ".sh", ".j2", ".html", ".css", "", ".cfg", ".yml", ".yaml"}


@pytest.mark.parametrize("name", trees(PACKAGE))
def test_public_names_have_docstrings(name: str) -> None:
    tree = trees(PACKAGE)[name]
    assert ast.get_docstring(tree), f"{name} says nothing of itself"
    bare = [
        f"{name}:{node.lineno} {node.name}"
        for node in public_nodes(tree)
        if not ast.get_docstring(node) and not is_overload(node)
    ]
    assert bare == []


def public_nodes(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef]:
    """Return public classes, functions and methods, those inside functions and private classes left out."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    return found


def is_overload(node: ast.AST) -> bool:
    return any(dotted(decorator).endswith(("overload", "setter")) for decorator in getattr(node, "decorator_list", ()))


@pytest.mark.parametrize("name", [n for n, tree in trees(PACKAGE).items() if "__all__" in ast.dump(tree)])
def test_all_is_sorted_and_importable(name: str) -> None:
    module = importlib.import_module(
        ".".join(("concertina", *name.removesuffix(".py").split("/"))).removesuffix(".__init__")
    )
    ordered = sorted(module.__all__, key=lambda n: (not n.isupper(), not n[:1].isupper(), n))
    assert list(module.__all__) == ordered
    assert [n for n in module.__all__ if not hasattr(module, n)] == []


def test_public_names_can_be_called_whatever_was_imported_before() -> None:
    import concertina

    for room in sorted(PACKAGE.glob("*/__init__.py")):
        importlib.import_module(f"concertina.{room.parent.name}")
    assert [name for name in concertina.__all__ if not callable(getattr(concertina, name))] == []


def registers(room: str, stem: str) -> bool:
    """Return whether the part `stem` of a room, a file or a folder, registers something."""
    files = [tree for name, tree in trees(PACKAGE).items() if name.startswith((f"{room}/{stem}.py", f"{room}/{stem}/"))]
    return any(called.endswith(".register") for tree in files for called, _ in calls(tree))


def parts() -> list[tuple[str, str]]:
    """Return (room, stem) of every file or folder that should or does register a part."""
    found = []
    for room in REGISTERING_ROOMS:
        stems = {path.stem for path in (PACKAGE / room).glob("*.py")}
        stems |= {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py") if room in PART_ROOMS}
        found += [(room, stem) for stem in sorted(stems - NO_PART) if room in PART_ROOMS or registers(room, stem)]
    return found


@pytest.mark.parametrize(("room", "stem"), parts())
def test_every_part_is_registered_and_imported(room: str, stem: str) -> None:
    assert registers(room, stem), f"{room}/{stem} registers nothing"
    imported = {module for module, _ in imports(trees(PACKAGE)[f"{room}/__init__.py"])}
    module = f"concertina.{room.replace('/', '.')}.{stem}"
    assert module in imported, f"{room}/__init__.py does not import {stem}: its parts are not found"


@pytest.mark.parametrize("name", trees(PACKAGE))
def test_no_file_is_long_and_no_name_is_empty_of_meaning(name: str) -> None:
    lines = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
    assert lines < 400, f"{name} has {lines} lines"
    assert not BANNED & set(name.removesuffix(".py").split("/"))


def test_functions_are_short() -> None:
    lengths = {
        f"{name}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in trees(PACKAGE).items()
        for node in functions(tree)
    }
    assert statistics.median(lengths.values()) < 12
    assert [where for where, length in lengths.items() if length > 60] == []


@pytest.mark.parametrize("name", trees(PACKAGE))
def test_no_assert_and_no_mute_raise_in_the_package(name: str) -> None:
    tree = trees(PACKAGE)[name]
    asserts = [f"{name}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    mute = [
        f"{name}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and not node.exc.args
        and not node.exc.keywords
    ]
    assert (asserts, mute) == ([], [])


@pytest.mark.parametrize("name", [n for n in trees(TESTS) if n.rpartition("/")[2].startswith("test_")])
def test_every_test_asserts_and_every_raises_has_words(name: str) -> None:
    tree = trees(TESTS)[name]
    tests = [node for node in functions(tree) if node.name.startswith("test_")]
    idle = [f"{name}:{node.lineno} {node.name}" for node in tests if not asserts_something(node)]
    wordless = [
        f"{name}:{call.lineno}"
        for called, call in calls(tree)
        if called == "pytest.raises" and not any(keyword.arg in ("match", "check") for keyword in call.keywords)
    ]
    assert idle == []
    assert wordless == []


def asserts_something(test: ast.AST) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(test)) or any(
        CHECKS.search(called) for called, _ in calls(test)
    )


def repository_files() -> list[str]:
    """Return every file that may be committed, as paths below the root."""
    ignored = {".git", ".venv", "__pycache__", "build", "dist", "runs", "site"}
    found = []
    for path in sorted(ROOT.rglob("*")):
        below = path.relative_to(ROOT)
        hidden = any(
            p in ignored or p.endswith(("_cache", ".egg-info", ".fit")) or p.startswith(".venv") for p in below.parts
        )
        if (
            not hidden
            and path.is_file()
            and path.suffix in TEXT
            and below.name != ".git"
            and ".hypothesis" not in below.parts
        ):
            found.append(str(below))
    return found


def test_no_machine_path_and_no_package_host() -> None:
    found = []
    for name in repository_files():
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        found += [f"{name}: {match.group()}" for match in (*MACHINE_PATH.finditer(text), *PACKAGE_HOST.finditer(text))]
    assert found == []


def test_changelog_and_package_agree_on_the_version() -> None:
    import concertina

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    assert versions[:1] == [project]
    assert concertina.__version__ == project
    assert re.search(r"^## \[Unreleased\]", changelog, re.MULTILINE)
