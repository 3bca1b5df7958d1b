"""Every matrix product of one forward pass, with the dims that it grows with.

One forward pass runs under a dispatch mode. Each tensor carries a tag: the dims that size one of its sides. Tags start
at the parameters, which know theirs from the dims' members, and flow through the operations. A product of an
activation with a weight grows with the sides of the weight, and with what else sizes the activation. A product of two
activations (attention) grows with the dims of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from concertina.errors import AnalysisError, SpecError
from concertina.measure.mode import evaluation_mode
from concertina.measure.sides import Part, tensor_sides
from concertina.nest.order import named_tensors
from concertina.types import Space


@dataclass(frozen=True)
class Product:
    """One matrix product or convolution of a forward pass."""

    macs: int
    """Multiply-accumulates in the full network."""
    dims: tuple[str, ...]
    """Names of the dims that it grows with, a dim twice where it grows with its square; gates included."""
    from_input: bool
    """Whether it depends on the input, and so is done once per input of a batch."""


@dataclass(frozen=True)
class _Tag:
    """What is known of a tensor: the dims that size its sides."""

    dims: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    """Of a weight: its parts, each with the dims that size it."""
    reads: frozenset[str] = frozenset()
    """Of a weight: those dims that it takes in and does not give on."""
    is_weight: bool = False
    from_input: bool = False

    @property
    def gives(self) -> frozenset[str]:
        """The dims that a result carries on."""
        return frozenset(self.dims) - self.reads


_PLAIN = _Tag()


def trace_products(module: nn.Module, example_inputs: Sequence[Any], space: Space) -> list[Product]:
    """Return all products of one forward pass for one input.

    Args:
        module: The full network; it is left as it was.
        example_inputs: What it is called with; the first side of each tensor is the batch.
        space: The dims.

    Raises:
        AnalysisError: The network does not run on its example inputs.
    """
    batch = next((len(x) for x in example_inputs if isinstance(x, Tensor) and x.dim()), 1)
    single = [x[:1] if isinstance(x, Tensor) and x.dim() and len(x) == batch else x for x in example_inputs]
    try:
        return _run(module, single, space)
    except AnalysisError:
        # Some networks squeeze a batch of one away; then the whole batch is run and divided out.
        whole = _run(module, example_inputs, space)
    return [replace(one, macs=one.macs // batch) if one.from_input else one for one in whole]


def _run(module: nn.Module, inputs: Sequence[Any], space: Space) -> list[Product]:
    recorder = _Recorder(_weight_tags(module, space))
    for value in inputs:
        if isinstance(value, Tensor):
            recorder.tags[value] = _Tag(from_input=True)
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(module))
        stack.enter_context(_open_gates(module, space, recorder.gates))
        stack.enter_context(torch.no_grad())
        stack.enter_context(plain_kernels())
        stack.enter_context(recorder)
        try:
            module(*inputs)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise AnalysisError(
                "the network does not run on its example inputs",
                asked=f"{type(error).__name__}: {error}",
                do="Give inputs that the network accepts.",
            ) from error
    return recorder.products


class _Recorder(TorchDispatchMode):
    """Notes every product, counted as torch's flop counter counts, and hands tags from inputs to outputs."""

    def __init__(self, tags: WeakTensorKeyDictionary) -> None:
        super().__init__()
        self.tags = tags
        self.gates: Counter[str] = Counter()
        self.products: list[Product] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation, or take it apart where it is made of others."""
        kwargs = dict(kwargs or {})
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        out = func(*args, **kwargs)
        tags = [self.tags.get(value, _PLAIN) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self._note(formula(*args, **kwargs, out_val=out) // 2, tags)
        merged = _merge(tags, is_product=formula is not None)
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                # Masks and indices say which, not how many: they have no side of units.
                self.tags[value] = merged if value.is_floating_point() or value.is_complex() else _untag(merged)
        return out

    def _note(self, macs: int, tags: Sequence[_Tag]) -> None:
        weight = max((tag for tag in tags if tag.is_weight), key=_num_sides, default=_PLAIN)
        others = {name for tag in tags if not tag.is_weight for name in tag.dims} - set(weight.dims)
        gates = [name for name, depth in self.gates.items() if depth]
        from_input = any(tag.from_input for tag in tags)
        for share, names in weight.parts or ((Fraction(1), ()),):
            self.products.append(Product(int(macs * share), tuple(sorted([*names, *others, *gates])), from_input))


def _merge(tags: Sequence[_Tag], *, is_product: bool) -> _Tag:
    """Return the tag of what comes out of an operation on tensors with `tags`."""
    weights = [tag for tag in tags if tag.is_weight]
    data = [tag for tag in tags if not tag.is_weight]
    if weights and not is_product and all(tag == _PLAIN for tag in data):
        return max(weights, key=_num_sides)
    if is_product:
        data = [replace(tag, dims=tuple(d for d in tag.dims if all(d not in w.dims for w in weights))) for tag in data]
    gives = [_Tag(tuple(sorted(tag.gives))) for tag in weights]
    return _merge_data([*data, *gives])


def _merge_data(tags: Sequence[_Tag]) -> _Tag:
    dims = sorted({name for tag in tags for name in tag.dims})
    return _Tag(tuple(dims), from_input=any(tag.from_input for tag in tags))


def _num_sides(tag: _Tag) -> int:
    """Return how many sides of a weight dims size, where it has parts of the most sized one."""
    return max((len(names) for _, names in tag.parts), default=0)


def _untag(tag: _Tag) -> _Tag:
    return _Tag(from_input=tag.from_input)


def _weight_tags(module: nn.Module, space: Space) -> WeakTensorKeyDictionary:
    """Return the tags that parameters and buffers start with."""
    tags = WeakTensorKeyDictionary()
    sides = tensor_sides(module, space)
    for name, tensor in named_tensors(module).items():
        tags[tensor] = _Tag(sides[name].dims, sides[name].parts, sides[name].reads, is_weight=True)
    return tags


@contextmanager
def _open_gates(module: nn.Module, space: Space, gates: Counter[str]) -> Iterator[None]:
    """Keep count in `gates` of the skippable blocks that are running."""
    with ExitStack() as stack:
        for dim in (dim for dim in space.dims if dim.is_gate):
            try:
                block = module.get_submodule(dim.target)
            except AttributeError as error:
                raise SpecError(f"dim {dim.name!r} names a block that the network lacks", asked=dim.target) from error
            enter, leave = partial(_step, gates, dim.name, 1), partial(_step, gates, dim.name, -1)
            stack.callback(block.register_forward_pre_hook(enter).remove)
            stack.callback(block.register_forward_hook(leave).remove)
        yield


def _step(gates: Counter[str], name: str, step: int, *_hook: Any) -> None:
    gates[name] += step


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Have attention and recurrent layers done by plain products; fused kernels of the CPU are not counted."""
    fused, *_ = torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=fused, _fp32_precision=None)
        torch.backends.mha.set_fastpath_enabled(fast)
