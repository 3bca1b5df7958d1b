"""Layer-wise relevance propagation, rule by rule: how each function hands relevance on to what it was given.

Relevance is carried as a coefficient: a tensor's relevance is its value times its coefficient, and the coefficient is
what flows backwards through autograd. So a function that is linear without a constant (sums, means, pooling, placing
values) needs no rule: autograd splits relevance in proportion to what each part contributed, residual sums among them.
The functions here are the others. Each computes what the network would have computed, with another backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import AnalysisError

TINY = 1e-6
"""Added to every divisor."""
Apply = Callable[[Tensor, Tensor], Tensor]
"""A layer as a function of its inputs and weight, without bias."""
Split = Callable[["Call", Apply, Tensor, Tensor, "Tensor | None"], Tensor]
"""(call, layer, inputs, weight, bias in the outputs' shape or None) -> outputs with a backward pass of relevance."""
Fold = Callable[["Call", Tensor, Tensor], Tensor]
"""(call, scale, shift; both (channels,)) -> outputs of a layer with both folded in."""
Rule = Callable[..., Any]
"""(call, function, its arguments ...) -> what the function gives, with a backward pass of relevance."""


@dataclass(eq=False)
class Call:
    """One call of a function while relevance is propagated."""

    given: list[Tensor]
    """The signals among the arguments: tensors that carry relevance."""
    inputs: list[Tensor]
    """Copies of them that the call works on, so that it is known how much it passed."""
    before: Fold | None = None
    """The layer whose output this call was given, as it would be with a scale and shift folded in."""
    constants: list[Tensor] = field(default_factory=list)
    """What absorbs relevance: biases and the like."""
    fold: Fold | None = None
    """Set by a convolution or linear layer, for a normalisation that may follow."""

    def constant(self, value: Any, like: Tensor) -> Tensor:
        """Return a constant as a tensor whose relevance is kept account of."""
        leaf = torch.as_tensor(value, dtype=like.dtype, device=like.device).detach().clone().requires_grad_()
        self.constants.append(leaf)
        return leaf


def is_signal(value: Any) -> bool:
    """Return whether a value carries relevance: a tensor on the way from the inputs, but no parameter."""
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:
        """Return the value, and keep its ratio to the surrogate."""
        ctx.save_for_backward(torch.where(surrogate == 0, 0.0, value / surrogate))
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *coefficients: Tensor) -> tuple[Tensor, None]:
        """Return coefficients times the ratio kept."""
        return coefficients[0] * ctx.saved_tensors[0], None


def carry(surrogate: Tensor, value: Tensor) -> Tensor:
    """Return `value`; its relevance goes to `surrogate`, of the same shape, place by place.

    Example:
        >>> x = torch.tensor([2.0, -1.0], requires_grad=True)
        >>> coefficients = torch.autograd.grad(carry(x, torch.tensor([6.0, 4.0])).sum(), x)[0]
        >>> (coefficients * x).tolist()
        [6.0, 4.0]
    """
    return _Carry.apply(surrogate, value.detach())


def epsilon_rule(
    call: Call, apply: Apply, x: Tensor, weight: Tensor, bias: Tensor | None, share: float = 0.0
) -> Tensor:
    """Split each output's relevance in proportion to the signed terms of its sum, and a part to epsilon.

    Args:
        call: Keeps account of what epsilon absorbs.
        apply: The layer without its bias.
        x: Inputs (batch, ...).
        weight: The layer's weight.
        bias: Its bias, shaped to be added to the outputs.
        share: Epsilon as a share of the root mean square of each sample's outputs: it damps sums whose terms cancel.

    Source: Bach et al. 2015 (PLOS ONE 10(7):e0130140); a share of 0.25 after Montavon et al. 2019.
    """
    value = apply(x, weight) if bias is None else apply(x, weight) + bias
    level = value.detach().square().mean(tuple(range(1, value.dim())), keepdim=True).sqrt()
    return carry(_stable(call, value, share * level), value)


def signed_rule(call: Call, apply: Apply, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Split a positive output's relevance among the terms that raised it, a negative one's among those that lowered it.

    On positive outputs this is the z+ rule (alpha 1, beta 0). The same for negative ones keeps every share between 0
    and 1, so nothing blows up where large terms cancel and no ReLU follows, as before a residual sum. Arguments as
    for `epsilon_rule`.

    Source: Montavon et al. 2017 (arXiv:1512.02479), z+; Montavon et al. 2019, the gamma rule, at infinite gamma.
    """
    raised = x.clamp(min=0)
    gains = apply(raised, weight.clamp(min=0))
    if bool((x < 0).any()):
        gains = gains + apply(x - raised, weight.clamp(max=0))
    value = apply(x, weight)
    if bias is not None:
        value, gains = value + bias, gains + bias.clamp(min=0)
    return carry(_stable(call, torch.where(value.detach() >= 0, gains, value - gains), 0.0), value)


def _stable(call: Call, sums: Tensor, epsilon: Tensor | float) -> Tensor:
    """Return sums moved away from 0 by epsilon, which absorbs its share as a bias does."""
    return sums + call.constant((epsilon + TINY) * sums.detach().sign(), sums)


def layer(split: Split) -> Rule:
    """Return the rule of a convolution or linear layer that splits by `split`."""

    def rule(
        call: Call, function: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
    ) -> Tensor:
        """Return a layer's output, its relevance split by the rule; shapes are the function's own."""
        outputs, inputs = (-1, *[1] * max(0, weight.dim() - 2)), (-1, *[1] * (weight.dim() - 1))

        def apply(values: Tensor, matrix: Tensor) -> Tensor:
            """Return what the layer makes without its bias."""
            return function(values, matrix, None, *rest, **named)

        def fold(now: Call, scale: Tensor, shift: Tensor) -> Tensor:
            """Return the output with a normalisation behind it taken into the weights."""
            now.inputs = [call.given[0].clone()]
            term = now.constant(shift if bias is None else bias * scale + shift, x)
            return split(now, apply, now.inputs[0], weight * scale.reshape(inputs), term.reshape(outputs))

        call.fold = fold
        return split(call, apply, x, weight, None if bias is None else call.constant(bias, x).reshape(outputs))

    return rule


def batch_norm(call: Call, _function: Any, x: Tensor, *given: Any, **named: Any) -> Tensor:
    """Fold a batch norm in eval mode into the layer before it; elsewhere it is an affine layer of its own."""
    names = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    told = {"weight": None, "bias": None, "eps": 1e-5, **dict(zip(names, given, strict=False)), **named}
    if told["running_mean"] is None or told["running_var"] is None:
        raise AnalysisError("relevance through a batch norm without running statistics")
    scale = (told["running_var"] + told["eps"]).rsqrt() * (1.0 if told["weight"] is None else told["weight"])
    shift = (0.0 if told["bias"] is None else told["bias"]) - told["running_mean"] * scale
    if call.before is not None:
        return call.before(call, scale, shift)
    shape = (-1, *[1] * (x.dim() - 2))
    return x * scale.reshape(shape) + call.constant(shift, x).reshape(shape)


def layer_norm(
    call: Call,
    _function: Any,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Take the deviation for a constant, and the rest for the linear layer it then is.

    Source: Ali et al. 2022 (arXiv:2202.07304).
    """
    dims = tuple(range(-len(shape), 0))
    scale = (x.detach().var(dims, unbiased=False, keepdim=True) + eps).rsqrt()
    value = (x - x.mean(dims, keepdim=True)) * scale * (1.0 if weight is None else weight)
    return value if bias is None else value + call.constant(bias, value)


def activation(_call: Call, function: Any, x: Tensor, *given: Any, **named: Any) -> Tensor:
    """Hand relevance through place by place, as it is."""
    return carry(x, function(x.detach().clone(), *given, **named))


def attention(_call: Call, function: Any, query: Tensor, key: Tensor, *given: Any, **named: Any) -> Tensor:
    """Take the attention weights for constants: relevance goes to the values.

    Source: Ali et al. 2022 (arXiv:2202.07304).
    """
    return function(query.detach(), key.detach(), *given, **named)


def weights(_call: Call, function: Any, *given: Any, **named: Any) -> Tensor:
    """Take the outputs for constants: attention weights, gates, lengths."""
    return function(*given, **named).detach()


def product(_call: Call, function: Any, *given: Any, **named: Any) -> Tensor:
    """Give half of the relevance of a product of two signals to each; all of it to a signal times a constant.

    Source: Achtibat et al. 2024 (arXiv:2402.05602), the uniform rule.
    """
    if sum(is_signal(part) for part in given) < 2:
        return function(*given, **named)
    return function(*(0.5 * part + (0.5 * part).detach() for part in given), **named)


def sums(call: Call, function: Any, *given: Any, **named: Any) -> Tensor:
    """Split a sum in proportion; what is no signal absorbs its part."""
    like = next(part for part in given if is_signal(part))
    parts = [part if is_signal(part) else call.constant(part, like) for part in given[:2]]
    return function(*parts, *given[2:], **named)


def quotient(_call: Call, function: Any, x: Tensor, divisor: Any, **named: Any) -> Tensor:
    """Take the divisor for a constant."""
    return function(x, divisor.detach() if isinstance(divisor, Tensor) else divisor, **named)


def plain(_call: Call, function: Any, *given: Any, **named: Any) -> Any:
    """Leave the function as it is: linear without a constant, or choosing one of its inputs."""
    return function(*given, **named)


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


CONVOLUTIONS: dict[str, Split] = {"epsilon": partial(epsilon_rule, share=0.25), "z+": signed_rule}
"""Name of a way to split relevance in convolutions -> the rule."""


def rules(convolutions: str) -> dict[str, Rule]:
    """Return name of a torch function -> its rule.

    Args:
        convolutions: Name in `CONVOLUTIONS`.
    """
    return {**_RULES, **_named(layer(CONVOLUTIONS[convolutions]), "conv1d conv2d conv3d")}


_RULES: dict[str, Rule] = {
    **_named(layer(epsilon_rule), "linear"),
    **_named(batch_norm, "batch_norm"),
    **_named(layer_norm, "layer_norm"),
    **_named(attention, "scaled_dot_product_attention"),
    **_named(activation, "relu relu6 leaky_relu gelu silu elu selu celu mish hardswish hardtanh tanh normalize"),
    **_named(weights, "softmax sigmoid hardsigmoid norm"),
    **_named(product, "mul matmul bmm __matmul__"),
    **_named(sums, "add sub rsub"),
    **_named(quotient, "div"),
    **_named(plain, "mean sum cat stack pad neg dropout interpolate"),
    **_named(plain, "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d"),
    **_named(plain, "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d"),
}
_PLACING = """
    add_ flatten unflatten view view_as reshape permute transpose t T mT movedim contiguous __getitem__ select narrow
    index_select chunk split unbind squeeze unsqueeze expand expand_as repeat roll flip to float double type_as clone
    masked_fill pixel_shuffle pixel_unshuffle
"""
PLACING = frozenset(_PLACING.split())
"""Functions that only place values (and a sum in place): they are left as they are, and no account is kept of them."""
