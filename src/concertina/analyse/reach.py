"""Whether the network runs at all, and which of its modules its example inputs reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concertina.analyse.slicing import as_contiguous, copy_with_tensors
from concertina.errors import AnalysisError


def run_checked(module: nn.Module, inputs: Sequence[Tensor], what: str) -> Tensor:
    """Return the output of `module` on fresh copies of `inputs`, after checking that it is one finite tensor.

    Args:
        module: A network in eval mode.
        inputs: What it is called with, (batch, ...) each.
        what: How to call the network in a message.

    Raises:
        AnalysisError: It does not run, gives something else than a tensor, or values that are not finite.
    """
    try:
        output = module(*(item.clone() for item in inputs))
    except Exception as error:  # a user's forward may raise anything: it is reported as the cause, whatever it is
        shapes = ", ".join(str(tuple(item.shape)) for item in inputs)
        text = next(iter(str(error).splitlines()), "")
        raise AnalysisError(
            f"{what} does not run on its example inputs of shape {shapes}", asked=f"{type(error).__name__}: {text}"
        ) from error
    if not isinstance(output, Tensor):
        raise AnalysisError(
            f"output of {what}",
            asked=type(output).__name__,
            allowed="one tensor",
            do="Wrap the network in a module whose forward returns the tensor that matters.",
        )
    if not bool(torch.isfinite(output).all()):
        raise AnalysisError(f"{what} gives NaN or infinite outputs on its example inputs")
    return output


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
    try:
        used = _parameters_used(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
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
            run_checked(own.train(), inputs, "the network in train mode")
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
