"""Nothing in the package can run what a file holds."""

from __future__ import annotations

import ast

import pytest
from tests.house.sources import PACKAGE, calls, constant, dotted, imports, trees

FORBIDDEN_MODULES = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "runpy", "code", "codeop")
FORBIDDEN_CALLS = (
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "numpy.load",
    "np.load",
)
STARTS_ITSELF = "bench/serving/process.py"
"""Starts this same Python, in one place: the server under test, and the client that loads it."""


def offences(name: str) -> list[str]:
    tree = trees(PACKAGE)[name]
    found = [
        f"{name}:{line} imports {module}"
        for module, line in imports(tree)
        if module.partition(".")[0] in FORBIDDEN_MODULES and not (module == "pickle" and only_names_its_error(tree))
    ]
    for called, call in calls(tree):
        if called in FORBIDDEN_CALLS and not (called.endswith("load") and constant(call, "allow_pickle") is False):
            found.append(f"{name}:{call.lineno} calls {called}")
        if called == "torch.load" and constant(call, "weights_only") is not True:
            found.append(f"{name}:{call.lineno} calls torch.load without weights_only=True")
        foreign = not (name == STARTS_ITSELF and called == "subprocess.Popen" and starts_this_python(call))
        if foreign and (called.startswith(("subprocess.", "os.exec", "os.spawn")) or constant(call, "shell") is True):
            found.append(f"{name}:{call.lineno} starts a process with {called}")
    return found


def starts_this_python(call: ast.Call) -> bool:
    """Return whether what is started is a list that begins with this Python, without a shell."""
    words = call.args[0] if call.args else None
    plain = isinstance(words, ast.List) and bool(words.elts) and dotted(words.elts[0]) == "sys.executable"
    return plain and not {"shell", "executable"} & {keyword.arg for keyword in call.keywords}


def only_names_its_error(tree: ast.AST) -> bool:
    """Return whether pickle is there only to catch what `torch.load(weights_only=True)` raises."""
    used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in used if name.startswith("pickle.")} == {"pickle.UnpicklingError"}


@pytest.mark.parametrize("name", trees(PACKAGE))
def test_no_way_to_run_what_a_file_holds(name: str) -> None:
    assert offences(name) == []
