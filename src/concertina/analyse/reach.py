"""Whether the network runs at all, and which of its modules its example inputs reach."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from concertina.analyse.events import hooked
from concertina.analyse.slicing import as_contiguous, whole_copy
from concertina.errors import AnalysisError
from concertina.load.running import run_checked


def unreached_modules(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the modules with parameters of their own that a forward pass neither calls nor draws a gradient from.

    Args:
        module: A copy of the network, in eval mode, whose parameters may be set to need gradients.
        inputs: What it is called with, (batch, ...) each.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> net.spare = nn.Linear(2, 2)
        >>> net.forward = lambda x: net[0](x)
        >>> unreached_modules(net, (torch.ones(2, 2),))
        ('spare',)
    """
    called: set[str] = set()
    handles = [
        layer.register_forward_pre_hook(lambda _layer, _args, path=path: called.add(path))
        for path, layer in module.named_modules()
    ]
    with hooked(handles), torch.no_grad():
        module(*(item.clone() for item in inputs))
    own = {path: list(layer.parameters(recurse=False)) for path, layer in module.named_modules()}
    missing = {path: parameters for path, parameters in own.items() if parameters and path not in called}
    used = _used_of([p for parameters in missing.values() for p in parameters], module, inputs) if missing else set()
    return tuple(path for path, parameters in missing.items() if not used & {id(p) for p in parameters})


def why_training_breaks(module: nn.Module, inputs: Sequence[Tensor], shared: Collection[str] = ()) -> str:
    """Return why a network does not run in train mode; "" when it does.

    Args:
        module: The network; a copy is run, and no global randomness is used up.
        inputs: What it is called with, (batch, ...) each.
        shared: Names of parameters that such a run leaves as they are, which need no copy.
    """
    return _trained(module, inputs, shared)[1]


def steady_parameters(module: nn.Module, inputs: Sequence[Tensor]) -> frozenset[str]:
    """Return the names of the parameters that a run in train mode leaves as they are.

    Args:
        module: A network that runs in train mode; a copy is run.
        inputs: What it is called with, (batch, ...) each.
    """
    own, _ = _trained(module, inputs, ())
    after = dict(own.named_parameters())
    return frozenset(
        name for name, tensor in module.named_parameters() if name in after and torch.equal(tensor, after[name])
    )


def _trained(module: nn.Module, inputs: Sequence[Tensor], shared: Collection[str]) -> tuple[nn.Module, str]:
    """Return a copy after a run in train mode, and why that broke off.

    Raises:
        AnalysisError: The run changed a parameter that it should leave as it is.
    """
    tensors: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    held = {name: tensor.detach() for name, tensor in tensors.items()}
    copies = as_contiguous({name: tensor for name, tensor in held.items() if name not in shared})
    own = whole_copy(module, held | copies).train()
    before = _versions(own)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        try:
            run_checked(own, inputs, "the network in train mode", AnalysisError)
        except AnalysisError as error:
            return own, str(error)
    changed = [name for name, version in _versions(own).items() if name in shared and version != before.get(name)]
    if changed:
        raise AnalysisError(f"the network changes its weight {changed[0]!r} in train mode at some widths only")
    return own, ""


def _versions(module: nn.Module) -> dict[str, int]:
    """Return how often each parameter was changed in place."""
    return {name: parameter._version for name, parameter in module.named_parameters()}  # noqa: SLF001


def _used_of(parameters: Sequence[Tensor], module: nn.Module, inputs: Sequence[Tensor]) -> set[int]:
    """Return the ids of those of some parameters that the output depends on."""
    parameters = [p for p in {id(p): p for p in parameters}.values() if p.is_floating_point()]
    with torch.enable_grad():
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        output = module(*(item.clone() for item in inputs))
        if not output.requires_grad or not parameters:
            return set()
        gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
