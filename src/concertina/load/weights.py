"""Weights from files: safetensors or plain torch checkpoints, never code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from concertina.errors import LoadError, some
from concertina.load.zoo import ZOO

COUNTER = "num_batches_tracked"
"""Buffer of batch norm that counts steps: it may be missing in a file, and no fingerprint covers it."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, on the CPU.

    Args:
        path: A `.safetensors` file, or a checkpoint written by `torch.save` that holds tensors only.

    Raises:
        LoadError: The file is missing, damaged, of another kind, or holds more than tensors.
    """
    if not path.is_file():
        raise LoadError(f"weights file {str(path)!r}", asked="no such file" if not path.exists() else "a folder")
    if path.suffix == ".concertina":
        raise LoadError(f"{str(path)!r} is a Concertina family, not a weights file", do="Open it with concertina.open.")
    start = _first_bytes(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    if start.startswith((b"PK", b"\x80")):
        return _read_checkpoint(path)
    raise LoadError(
        f"weights file {str(path)!r}",
        asked="a file of unknown kind",
        allowed="safetensors, or a checkpoint of torch.save that holds tensors only",
    )


def adopt_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load `weights` into `module` in place; every tensor must be there, of the right shape and finite.

    Args:
        module: The network that takes the weights.
        weights: Tensors by the names of the module's state dict; step counters may be missing.
        origin: Where the weights come from, for messages.

    Raises:
        LoadError: Tensors are missing, unexpected, of another shape or kind, or not finite; each is named.
    """
    own = module.state_dict()
    missing = _missing(own, weights)
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        raise LoadError(
            f"weights of {origin} do not belong to this architecture",
            asked=_differences(missing, unexpected),
            do=_advice(weights, own),
        )
    misfits = [name for name, tensor in weights.items() if tensor.shape != own[name].shape]
    if misfits:
        shown = (f"{n!r} {_shape(weights[n])} instead of {_shape(own[n])}" for n in misfits)
        raise LoadError(f"weights of {origin} have other shapes", asked=some(shown), do=_advice(weights, own))
    kinds = [name for name, tensor in weights.items() if tensor.is_floating_point() != own[name].is_floating_point()]
    if kinds:
        raise LoadError(
            f"weights of {origin} have another dtype", asked=some(f"{n!r} {weights[n].dtype}" for n in kinds)
        )
    module.load_state_dict(dict(weights), strict=False)


def check_finite(module: nn.Module, origin: str) -> None:
    """Refuse a module with NaN or infinite values in its weights or normalisation statistics.

    Raises:
        LoadError: The text names the tensors.
    """
    bad = not_finite(module)
    if bad:
        raise LoadError(f"weights of {origin} hold NaN or infinite values", asked=some(map(repr, bad)))


def not_finite(module: nn.Module) -> list[str]:
    """Return the names of the tensors that hold NaN or infinite values.

    Infinities in buffers other than normalisation statistics are let through: attention masks hold them on purpose.
    """
    bad = [name for name, tensor in module.named_parameters() if not _finite(tensor)]
    return bad + [name for name, tensor in module.named_buffers() if not _finite(tensor, "running_" not in name)]


def fitting_networks(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the zoo networks (default arguments) whose tensors have these names and shapes."""
    given = {name: tuple(tensor.shape) for name, tensor in weights.items() if not name.endswith(COUNTER)}
    found = []
    for entry in ZOO:
        with torch.device("meta"):
            state = entry.part.build().state_dict()
        if {name: tuple(t.shape) for name, t in state.items() if not name.endswith(COUNTER)} == given:
            found.append(entry.name)
    return tuple(found)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise LoadError(f"weights file {str(path)!r} cannot be read", asked=str(error)) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # whatever a damaged file makes the reader raise, it is reported as the cause
        raise LoadError(f"{str(path)!r} is no sound safetensors file", asked=_first_line(error)) from error


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, unwrapped from the usual outer keys."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"checkpoint {str(path)!r} holds more than tensors, and code in a file is never run",
            do="Save the state dict alone: torch.save(module.state_dict(), path), or as safetensors.",
        ) from error
    except Exception as error:  # whatever a damaged file makes the reader raise, it is reported as the cause
        if "TorchScript" in str(error):
            do = "Save its state dict alone: torch.save(program.state_dict(), path), or as safetensors."
            raise LoadError(
                f"{str(path)!r} is a TorchScript program, and code in a file is never run", do=do
            ) from error
        raise LoadError(f"{str(path)!r} is no sound torch checkpoint", asked=_first_line(error)) from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise LoadError(f"checkpoint {str(path)!r} is no state dict", allowed="a dict of tensors by name")
    return {str(name): tensor for name, tensor in content.items()}


def _finite(tensor: Tensor, allow_infinite: bool = False) -> bool:
    return not bool(torch.isnan(tensor).any()) if allow_infinite else bool(torch.isfinite(tensor).all())


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__


def _missing(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names that `weights` leaves out: neither counters nor ties of a tensor that is there."""
    there = {(own[name].data_ptr(), own[name].shape) for name in weights if name in own and own[name].numel()}
    absent = (name for name in own if name not in weights and not name.endswith(COUNTER))
    return [name for name in absent if (own[name].data_ptr(), own[name].shape) not in there]


def _differences(missing: list[str], unexpected: list[str]) -> str:
    parts = (("missing", missing), ("unexpected", unexpected))
    return "; ".join(f"{what} {some(map(repr, names))}" for what, names in parts if names)


def _advice(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return what to do about weights that do not fit: a prefix to take off, or the architecture that fits."""
    if weights and all(name.startswith("module.") for name in weights):
        bare = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
        if bare.keys() & own.keys():
            return "All names begin with 'module.', as DataParallel saves them: take that prefix off."
    fits = fitting_networks(weights)
    return f"They fit --arch {' or '.join('zoo:' + name for name in fits)}." if fits else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
