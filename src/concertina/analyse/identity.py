"""What the outcome of an analysis depends on, as one digest: tensors, modules, what they hold, and the code they run.

Code of installed packages counts by version; all other code by what it does, with the functions it calls by name. What
cannot be put into words (an open file, a foreign object without attributes) has no digest: such a network has none.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concertina.load import fingerprint

DEEPEST = 40
"""How many values may lie inside each other."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_INSTALLED = tuple({sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")})
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, Enum, range, slice)


class NoIdentityError(Exception):
    """Something that the outcome may depend on cannot be put into words."""


def identity(module: nn.Module, inputs: Iterable[Tensor], asked: Mapping[str, Any]) -> str:
    """Return a digest that is equal only where an analysis gives the same.

    Args:
        module: The network.
        inputs: What it is called with, (batch, ...) each.
        asked: What else the outcome depends on, JSON values only.

    Raises:
        NoIdentityError: The network holds or calls something that cannot be put into words.
    """
    words = _Words(module)
    content = [
        [platform.python_version(), torch.__version__, torch.get_default_dtype().__repr__()],
        asked,
        fingerprint(module),
        [words.of(item) for item in inputs],
        [[path, words.of_module(layer)] for path, layer in module.named_modules(remove_duplicate=False)],
        [[name, words.firsts[id(tensor)]] for name, tensor in _named(module)],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


class _Words:
    """Puts values into words, each shared one once."""

    def __init__(self, module: nn.Module) -> None:
        self._paths = {id(layer): path for path, layer in module.named_modules()}
        self.firsts: dict[int, str] = {}
        for name, tensor in _named(module):
            self.firsts.setdefault(id(tensor), name)
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []

    def of_module(self, layer: nn.Module) -> Any:
        """Return words for a module's class and what it holds beside tensors and other modules."""
        hooks = [value for name, value in vars(layer).items() if name.endswith("_hooks") and name in _OF_EVERY_MODULE]
        held = {name: value for name, value in vars(layer).items() if name not in _OF_EVERY_MODULE}
        return [self._of_class(type(layer)), self.of(held), [self.of(list(found.values())) for found in hooks]]

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return words for any value, JSON values only.

        Raises:
            NoIdentityError: There are none.
        """
        if isinstance(value, _PLAIN):
            return [type(value).__name__, repr(value)]
        if isinstance(value, Tensor | np.ndarray):
            return self._of_array(value)
        if id(value) in self._paths:
            return ["module", self._paths[id(value)]]
        if id(value) in self._seen:
            return ["seen", self._seen[id(value)]]
        if depth > DEEPEST:
            raise NoIdentityError(type(value).__name__)
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return self._of_large(value, depth + 1)

    def _of_plain(self, value: Any) -> Any:
        if not isinstance(value, _PLAIN):
            raise NoIdentityError(type(value).__name__)
        return self.of(value)

    def _of_large(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return [type(value).__name__, [[self.of(k, depth), self.of(v, depth)] for k, v in value.items()]]
        if isinstance(value, list | tuple):
            return [type(value).__name__, [self.of(item, depth) for item in value]]
        if isinstance(value, set | frozenset):
            return [type(value).__name__, sorted(json.dumps(self._of_plain(item)) for item in value)]
        if isinstance(value, type):
            return self._of_class(value)
        if isinstance(value, MethodType):
            return ["method", self.of(value.__func__, depth), self.of(value.__self__, depth)]
        if isinstance(value, FunctionType):
            return self._of_function(value, depth)
        if isinstance(value, ModuleType | BuiltinFunctionType):
            return _package(value)
        return self._of_object(value, depth)

    def _of_object(self, value: Any, depth: int) -> Any:
        function = getattr(value, "__wrapped__", None)
        if isinstance(function, FunctionType):
            return ["wrapped", self.of(function, depth)]
        if not hasattr(value, "__dict__") or not vars(value):
            if _is_installed(type(value)) and type(value).__module__.partition(".")[0] in ("torch", "functools"):
                return [type(value).__name__, repr(value).partition(" at 0x")[0]]
            raise NoIdentityError(type(value).__name__)
        return [self._of_class(type(value)), self.of(dict(vars(value)), depth)]

    def _of_array(self, value: Tensor | np.ndarray) -> Any:
        if id(value) in self.firsts:
            return ["tensor", self.firsts[id(value)]]
        if isinstance(value, Tensor):
            raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        else:
            raw = np.ascontiguousarray(value).tobytes()
        return ["array", str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()]

    def _of_class(self, kind: type) -> Any:
        """Return words for a class: a package's version, or the code of its methods and of those it inherits."""
        if _is_installed(kind):
            return _package(kind)
        if id(kind) in self._seen:
            return ["seen class", kind.__qualname__, self._seen[id(kind)]]
        self._seen[id(kind)] = len(self._seen)
        self._kept.append(kind)
        methods = []
        for owner in kind.__mro__:
            if _is_installed(owner):
                methods.append(_package(owner))
                continue
            for name, value in vars(owner).items():
                function = _function_of(value)
                if function is not None:
                    methods.append([name, self.of(function)])
                elif isinstance(value, (*_PLAIN, tuple)) and not name.startswith("__"):
                    methods.append([name, self.of(value)])
        return ["class", kind.__module__, kind.__qualname__, methods]

    def _of_function(self, function: FunctionType, depth: int) -> Any:
        if _is_installed(function) and not function.__closure__:
            return _package(function)
        cells = [self.of(cell.cell_contents, depth) for cell in function.__closure__ or ()]
        defaults = self.of([function.__defaults__, function.__kwdefaults__], depth)
        code = _package(function) if _is_installed(function) else self._of_code(function.__code__, function, depth)
        return ["function", code, cells, defaults]

    def _of_code(self, code: CodeType, function: FunctionType, depth: int) -> Any:
        constants = [self._of_code(c, function, depth) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
        digest = hashlib.sha256(code.co_code).hexdigest()
        return [digest, constants, list(code.co_names), self._called(code.co_names, function, depth)]

    def _called(self, names: Iterable[str], function: FunctionType, depth: int) -> Any:
        """Return words for the globals that code uses, and for what it may use of modules among them."""
        found, names, spaces = [], list(names), [function.__globals__]
        entered: set[int] = set()
        while spaces:
            space = spaces.pop()
            for name in names:
                if name in space:
                    value = space[name]
                    found.append([name, self.of(value, depth)])
                    if isinstance(value, ModuleType) and not _is_installed(value) and id(value) not in entered:
                        entered.add(id(value))
                        spaces.append(vars(value))
        return found


def _function_of(value: Any) -> FunctionType | None:
    """Return the function inside a method of any kind; None for what is none."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    return value if isinstance(value, FunctionType) else None


def _is_installed(value: Any) -> bool:
    """Return whether something comes with Python or with an installed package."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if isinstance(value, BuiltinFunctionType) or name == "builtins" or name in sys.builtin_module_names:
        return True
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    return file is not None and str(file).startswith(_INSTALLED)


def _package(value: Any) -> Any:
    """Return words for something of an installed package: its name, and the package's version."""
    name = value.__name__ if isinstance(value, ModuleType) else f"{value.__module__}.{value.__qualname__}"
    package = sys.modules.get(name.partition(".")[0])
    version = getattr(package, "__version__", "")
    if isinstance(value, ModuleType) and not _is_installed(value):
        source = inspect.getsourcefile(value) if getattr(value, "__file__", None) else None
        return ["own module", name, source is not None]
    return ["package", name, str(version)]
