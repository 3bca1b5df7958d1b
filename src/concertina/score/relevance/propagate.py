"""Run any network made of known functions so that its backward pass carries relevance instead of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

from concertina.errors import AnalysisError
from concertina.score.relevance.rules import PLACING, Call, Fold, is_signal, rules


@dataclass(frozen=True)
class Balance:
    """How much relevance one call of a function passed, summed over the batch."""

    path: str
    """Path of the module that called it."""
    function: str
    received: float
    """Relevance of its outputs."""
    passed: float
    """Relevance of its inputs."""
    absorbed: float
    """Relevance of its biases and other constants."""
    size: float
    """Sum of the absolute relevance of its outputs, to judge differences by."""


class Propagation(TorchFunctionMode):
    """While entered, every torch function has the backward pass of its relevance rule.

    Run a network in eval mode inside it, on inputs that require gradients. Then the gradient of its outputs by any
    tensor on the way is that tensor's coefficient, and value times coefficient is its relevance. Convolutions and
    linear layers follow the epsilon rule, activations the identity; a batch norm is folded into the layer before it.
    Attention weights, gates and the deviation of a layer norm count as constants.

    Args:
        module: The network; its paths name what cannot be passed.
        convolutions: "epsilon" splits by signed terms, damped where they cancel; "z+" by those of the output's sign.

    Raises:
        AnalysisError: A function has no rule; the text names the path and type of the layer that called it.
    """

    def __init__(self, module: nn.Module, convolutions: Literal["epsilon", "z+"] = "epsilon") -> None:
        super().__init__()
        self._rules = rules(convolutions)
        self._module = module
        self._stack: list[tuple[str, nn.Module]] = [("", module)]
        self._hooks = ExitStack()
        self._calls: list[tuple[str, str, Call, Tensor]] = []
        self._folds: dict[int, tuple[Tensor, Fold]] = {}

    def __enter__(self) -> Propagation:
        """Start to name modules and to replace functions."""
        for path, layer in self._module.named_modules():
            before = layer.register_forward_pre_hook(partial(self._step_in, path), prepend=True)
            after = layer.register_forward_hook(self._step_out, always_call=True)
            self._hooks.callback(before.remove)
            self._hooks.callback(after.remove)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the network as it was."""
        super().__exit__(*error)
        self._hooks.close()
        self._folds.clear()

    def _step_in(self, path: str, layer: nn.Module, _arguments: Any) -> None:
        self._stack.append((path, layer))

    def _step_out(self, *_call: Any) -> None:
        self._stack.pop()

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Call `func` with the backward pass of its rule."""
        name, named = _name(func), dict(kwargs or {})
        signals = [leaf for leaf in tree_leaves((args, named)) if is_signal(leaf)]
        if not signals or name in PLACING:
            outputs = func(*args, **named)
            return outputs.detach().requires_grad_() if name == "embedding" else outputs
        if name not in self._rules:
            outputs = func(*args, **named)
            if any(is_signal(leaf) for leaf in tree_leaves(outputs)):
                raise self._refusal(name)
            return outputs
        signals = list({id(signal): signal for signal in signals}.values())
        copies = {id(signal): signal.clone() for signal in signals}
        before = self._folds.get(id(args[0])) if args else None
        call = Call(signals, list(copies.values()), before[1] if before else None)
        args, named = tree_map(lambda leaf: copies.get(id(leaf), leaf), (tuple(args), named))
        outputs = self._rules[name](call, func, *args, **named)
        if not is_signal(outputs):
            return outputs
        self._calls.append((self._stack[-1][0], name, call, outputs))
        handed = outputs.clone()
        if call.fold is not None:
            self._folds[id(handed)] = (handed, call.fold)
            call.fold = None  # it holds the call: kept here, both would outlive their use
        return handed

    def _refusal(self, function: str) -> AnalysisError:
        path, layer = self._stack[-1]
        return AnalysisError(
            f"relevance cannot pass {path or 'the network itself'!r} of type {type(layer).__name__}",
            asked=f"function {function!r}",
            allowed="convolutions, linear layers, their usual norms, activations, pooling, sums and attention",
            do="Use a criterion without rules for layers, such as 'taylor'.",
        )

    def balances(self, outputs: Tensor, start: Tensor) -> list[Balance]:
        """Return what every call received, passed on and absorbed.

        Args:
            outputs: What the network gave inside this context, (batch, ...).
            start: Coefficient of each output, of the same shape; the relevance to begin with is outputs * start.
        """
        wanted = [t for _, _, call, made in self._calls for t in (made, *call.inputs, *call.constants)]
        found = torch.autograd.grad(outputs, wanted, start, allow_unused=True, retain_graph=True)
        amounts = {
            id(t): (0.0, 0.0) if c is None else (float((t.detach() * c).sum()), float((t.detach() * c).abs().sum()))
            for t, c in zip(wanted, found, strict=True)
        }
        return [
            Balance(
                path,
                function,
                received=amounts[id(made)][0],
                passed=sum(amounts[id(t)][0] for t in call.inputs),
                absorbed=sum(amounts[id(t)][0] for t in call.constants),
                size=amounts[id(made)][1],
            )
            for path, function, call, made in self._calls
        ]


def _name(function: Any) -> str:
    """Return the bare name of a torch function: "conv2d", "mean", "__getitem__"."""
    parts = (resolve_name(function) or getattr(function, "__name__", "?")).split(".")
    return parts[-2] if parts[-1] == "__get__" else parts[-1]
