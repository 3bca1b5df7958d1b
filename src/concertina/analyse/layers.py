"""What is known of the layers of torch: which sides of their tensors go together, and what they declare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from concertina.types import Role

Key = tuple[str, int]
"""One side of one tensor: (name of the tensor, dim)."""


@dataclass(frozen=True)
class Side:
    """One side of a layer: the tensor sides that can only grow and shrink together, and what the layer declares."""

    path: str
    """Path of the layer."""
    role: Role
    tensors: tuple[tuple[str, int], ...]
    """(attribute of the layer, dim)."""
    sizes: tuple[tuple[str, int, int], ...]
    """(attribute, index inside a tuple or -1, value) of each declared size."""
    divides: int = 0
    """The number of units must divide this; 0 for any number."""
    runs: int = 1
    """How many times over the tensors hold all units, one time after the other, as a recurrent layer's gates do."""
    along: tuple[str, ...] = ()
    """Other ends of the layer that go along."""
    keys: tuple[Key, ...] = ()
    """The same as `tensors`, by their first names in the network."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Which layer holds which tensor, and by which side."""

    tensors: Mapping[str, Tensor]
    """Every parameter and buffer once, by its first name."""
    index: Mapping[str, int]
    """Tensor name -> its place in the network's own order."""
    sides: Mapping[tuple[str, str], Side]
    """(path of the layer, "in" or "out") -> side; the same side twice where a layer only passes units on."""
    holders: Mapping[Key, tuple[Side, ...]]
    """Tensor side -> the layer sides it belongs to: several for a tied tensor, none for one used by itself."""

    @staticmethod
    def of(module: nn.Module) -> Wiring:
        """Return the wiring of `module`, which is only looked at."""
        tensors: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        names = {id(tensor): name for name, tensor in tensors.items()}
        sides = {}
        for path, layer in module.named_modules():
            for end, side in _sides_of(path, layer).items():
                held = [(getattr(layer, name), dim) for name, dim in side.tensors]
                if all(id(tensor) in names for tensor, _ in held):
                    keys = tuple((names[id(tensor)], dim) for tensor, dim in held)
                    sides[path, end] = _with_keys(side, keys)
        holders: defaultdict[Key, list[Side]] = defaultdict(list)
        for side in dict.fromkeys(sides.values()):
            for key in side.keys:
                holders[key].append(side)
        index = {name: place for place, name in enumerate(tensors)}
        return Wiring(tensors, index, sides, {key: tuple(found) for key, found in holders.items()})

    def size(self, key: Key) -> int:
        """Return how long a tensor side is."""
        return self.tensors[key[0]].shape[key[1]]

    def role(self, key: Key) -> Role:
        """Return how a tensor side takes part; "tied" when layers use it in several ways."""
        roles = {side.role for side in self.holders.get(key, ())}
        if roles:
            return roles.pop() if len(roles) == 1 else "tied"
        return "norm" if sum(size > 1 for size in self.tensors[key[0]].shape) == 1 else "out"

    def raw(self) -> list[str]:
        """Return the tensors that no known layer holds: parameters and buffers that a forward uses by themselves."""
        held = {name for name, _ in self.holders}
        return [name for name, tensor in self.tensors.items() if name not in held and tensor.is_floating_point()]


def _with_keys(side: Side, keys: tuple[Key, ...]) -> Side:
    return replace(side, keys=keys)


def _sides_of(path: str, layer: nn.Module) -> dict[str, Side]:
    """Return "in" and "out" -> side of a layer; nothing for a layer without a rule."""
    for kind, rule in _RULES:
        if isinstance(layer, kind):
            return rule(path, layer)
    return _transposed_linear(path, layer) if is_transposed_linear(layer) else {}


def _convolution(path: str, layer: Any) -> dict[str, Side]:
    out_dim, in_dim = (1, 0) if isinstance(layer, _ConvTransposeNd) else (0, 1)
    bias = _present(layer, ("bias", 0))
    sizes = {"in": ("in_channels", -1, layer.in_channels), "out": ("out_channels", -1, layer.out_channels)}
    if layer.groups > 1:
        declared = (sizes["in"], sizes["out"], ("groups", -1, layer.groups))
        both = Side(path, "depthwise", (("weight", 0), *bias), declared, layer.groups)
        return {"in": both, "out": both}
    return {
        "in": Side(path, "in", (("weight", in_dim),), (sizes["in"],)),
        "out": Side(path, "out", (("weight", out_dim), *bias), (sizes["out"],)),
    }


def _linear(path: str, layer: Any) -> dict[str, Side]:
    made = (("weight", 0), *_present(layer, ("bias", 0)))
    return {
        "in": Side(path, "in", (("weight", 1),), (("in_features", -1, layer.in_features),)),
        "out": Side(path, "out", made, (("out_features", -1, layer.out_features),)),
    }


def linear_features(layer: nn.Module) -> tuple[int, int] | None:
    """Return the numbers of inputs and outputs of a linear layer, however its weight lies; None for others."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    held: Any = layer
    return (held.nx, held.nf) if is_transposed_linear(layer) else None


def is_transposed_linear(layer: nn.Module) -> bool:
    """Return whether a layer is linear with a weight (inputs, outputs), as transformers' `Conv1D` is.

    Known by what it holds, not by its class: `nf` outputs, `nx` inputs, and nothing but a weight and a bias.
    """
    weight: Any = getattr(layer, "weight", None)
    shape = (getattr(layer, "nx", None), getattr(layer, "nf", None))
    held = {name for name, _ in layer.named_parameters()}
    return isinstance(weight, nn.Parameter) and tuple(weight.shape) == shape and held <= {"weight", "bias"}


def _transposed_linear(path: str, layer: Any) -> dict[str, Side]:
    made = (("weight", 1), *_present(layer, ("bias", 0)))
    return {
        "in": Side(path, "in", (("weight", 0),), (("nx", -1, layer.nx),)),
        "out": Side(path, "out", made, (("nf", -1, layer.nf),)),
    }


def _embedding(path: str, layer: Any) -> dict[str, Side]:
    return {"out": Side(path, "out", (("weight", 1),), (("embedding_dim", -1, layer.embedding_dim),))}


def _channel_norm(path: str, layer: Any) -> dict[str, Side]:
    held = _present(layer, ("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 0))
    return _passing(Side(path, "norm", held, (("num_features", -1, layer.num_features),)))


def _last_dim_norm(path: str, layer: Any) -> dict[str, Side]:
    last = len(layer.normalized_shape) - 1
    held = _present(layer, ("weight", last), ("bias", last))
    return _passing(Side(path, "norm", held, (("normalized_shape", last, layer.normalized_shape[last]),)))


def _group_norm(path: str, layer: Any) -> dict[str, Side]:
    sizes = [("num_channels", -1, layer.num_channels)]
    if layer.num_groups > 1:
        sizes.append(("num_groups", -1, layer.num_groups))
    divides = layer.num_groups if layer.num_groups > 1 else 0
    return _passing(Side(path, "norm", _present(layer, ("weight", 0), ("bias", 0)), tuple(sizes), divides))


def _recurrent(path: str, layer: Any) -> dict[str, Side]:
    """Return the sides of LSTM, GRU and RNN layers: gates are runs, and all layers above each other have one width."""
    if layer.bidirectional or layer.proj_size:
        return {}
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    levels = range(layer.num_layers)
    made = [(f"{kind}_{end}_l{level}", 0) for level in levels for kind in ("weight", "bias") for end in ("ih", "hh")]
    read = [(f"weight_hh_l{level}", 1) for level in levels] + [(f"weight_ih_l{level}", 1) for level in levels if level]
    hidden = (("hidden_size", -1, layer.hidden_size),)
    return {
        "in": Side(path, "in", (("weight_ih_l0", 1),), (("input_size", -1, layer.input_size),)),
        "out": Side(path, "out", _present(layer, *made), hidden, runs=gates, along=("again",)),
        "again": Side(path, "in", tuple(read), ()),
    }


def _prelu(path: str, layer: Any) -> dict[str, Side]:
    if layer.num_parameters == 1:
        return {}
    return _passing(Side(path, "norm", (("weight", 0),), (("num_parameters", -1, layer.num_parameters),)))


def _passing(side: Side) -> dict[str, Side]:
    return {"in": side, "out": side}


def _present(layer: nn.Module, *wanted: tuple[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, dim) for name, dim in wanted if getattr(layer, name, None) is not None)


_RULES: tuple[tuple[type | tuple[type, ...], Callable[[str, Any], dict[str, Side]]], ...] = (
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (nn.Embedding, _embedding),
    (_NormBase, _channel_norm),
    ((nn.LayerNorm, nn.RMSNorm), _last_dim_norm),
    (nn.GroupNorm, _group_norm),
    (nn.PReLU, _prelu),
    (nn.RNNBase, _recurrent),
)
"""Kind of layer -> its sides, the first kind that fits."""
