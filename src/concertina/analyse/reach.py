"""Whether the network runs at all, and which of its modules its example inputs reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concertina.analyse.events import hooked
from concertina.analyse.slicing import as_contiguous, copy_with_tensors
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
    with hooked(handles):
        used = _parameters_used(module, inputs)
    return tuple(
        path
        for path, layer in module.named_modules()
        if (own := [id(p) for p in layer.parameters(recurse=False)]) and path not in called and not used & set(own)
    )


def why_training_breaks(module: nn.Module, inputs: Sequence[Tensor]) -> str:
    """Return why a network does not run in train mode; "" when it does.

    Args:
        module: The network; a copy is run, and no global randomness is used up.
        inputs: What it is called with, (batch, ...) each.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    own = copy_with_tensors(module, as_contiguous({name: tensor.detach() for name, tensor in tensors.items()}))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        try:
            run_checked(own.train(), inputs, "the network in train mode", AnalysisError)
        except AnalysisError as error:
            return str(error)
    return ""


def _parameters_used(module: nn.Module, inputs: Sequence[Tensor]) -> set[int]:
    """Return the ids of the parameters that the output depends on."""
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    with torch.enable_grad():
        for parameter in parameters:
            parameter.requires_grad_(True)
        output = module(*(item.clone() for item in inputs))
        if not output.requires_grad:
            return set()
        gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
