"""torch's own attention with its projections one by one, so that heads and the width around them can go."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.rewriting import WAYS, Way, not_borne, rewritten_core
from concertina.types import Core, Rewrite

ATTENTION = "attention"


class SplitAttention(nn.Module):
    """What `nn.MultiheadAttention` computes, by four linear layers; how many heads there are follows from their widths.

    Args:
        like: The attention whose sizes and options it takes; not its values.
    """

    in_proj_bias = None
    """Not there: torch's encoder layers then keep to the plain path."""
    _qkv_same_embed_dim = False

    def __init__(self, like: nn.MultiheadAttention) -> None:
        super().__init__()
        width, biased = like.embed_dim, like.in_proj_bias is not None
        place = {"device": like.out_proj.weight.device, "dtype": like.out_proj.weight.dtype}
        self.q_proj = nn.Linear(width, width, biased, **place)
        self.k_proj = nn.Linear(like.kdim or width, width, biased, **place)
        self.v_proj = nn.Linear(like.vdim or width, width, biased, **place)
        self.out_proj = nn.Linear(width, width, like.out_proj.bias is not None, **place)
        self.head_size, self.dropout, self.batch_first = like.head_dim, like.dropout, like.batch_first

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        **options: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Return outputs and, where asked for, attention weights, as `nn.MultiheadAttention` does.

        Of its other options `average_attn_weights` counts; `is_causal` is a hint about a mask that is given too.

        Raises:
            NotImplementedError: There is a mask for each head: heads can go.
        """
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0 if self.batch_first else 1) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (self._heads(x) for x in (self.q_proj(query), self.k_proj(key), self.v_proj(value)))
        mask = _joined(attn_mask, key_padding_mask, q.dtype)
        mixed, weights = self._attend(q, k, v, mask, need_weights)
        outputs = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and options.get("average_attn_weights", True):
            weights = weights.mean(1)
        if not self.batch_first:
            outputs = outputs.transpose(0, 1)
        if not batched:
            outputs = outputs.squeeze(0 if self.batch_first else 1)
            weights = None if weights is None else weights.squeeze(0)
        return outputs, weights

    def _heads(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, heads * head size) as (batch, heads, tokens, head size)."""
        return x.unflatten(2, (-1, self.head_size)).transpose(1, 2)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout), None
        scores = (q / math.sqrt(self.head_size)) @ k.transpose(2, 3)
        weights = F.dropout(torch.softmax(scores if mask is None else scores + mask, 3), dropout)
        return weights @ v, weights


def _joined(attn_mask: Tensor | None, padding: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return both masks as one to be added to scores (batch or 1, 1, queries or 1, keys)."""
    if attn_mask is not None and attn_mask.dim() == 3:
        raise NotImplementedError("a mask for each head: heads of this network can go, so give one for all of them")
    joined = None if attn_mask is None else _added(attn_mask, dtype)[None, None]
    if padding is None:
        return joined
    padding = _added(padding, dtype)[:, None, None]
    return padding if joined is None else joined + padding


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -torch.inf)


@WAYS.register(ATTENTION, source="Vaswani et al. 2017 (arXiv:1706.03762), as in torch.nn.MultiheadAttention", year=2017)
class Split(Way):
    """torch's attention with its projections one by one, which computes the same."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is torch's own attention, without learned or empty keys of its own."""
        return type(layer) is nn.MultiheadAttention and layer.bias_k is None and not layer.add_zero_attn

    def limits(self, _layer: nn.MultiheadAttention) -> tuple[int, int]:
        """Return 1 and 1: there is no rank."""
        return 1, 1

    def build(self, layer: nn.MultiheadAttention, _how: Rewrite) -> nn.Module:
        """Return the attention; values do not matter."""
        return SplitAttention(layer)


def with_split_attention(core: Core, *, leave: Collection[str] = ()) -> Core:
    """Return the core with torch's own attention put in a form of which heads and widths can go; it computes the same.

    `nn.MultiheadAttention` keeps three projections in one tensor and takes all of its widths to be one number, so that
    nothing of it can shrink. Where the network does not bear another class in its place, it stays.

    Args:
        core: The core.
        leave: Paths of modules and tensors: an attention that is one, is inside one or has one inside is left.

    Example:
        >>> import torch
        >>> from concertina.load import load
        >>> core = with_split_attention(load(torch.nn.TransformerEncoderLayer(8, 2, 16), torch.randn(4, 3, 8)))
        >>> core.rewritten
        {'self_attn': Rewrite(way='attention', rank=1, groups=())}
    """
    way = Split()
    found = {
        path: layer
        for path, layer in core.module.named_modules()
        if path and way.fits(layer) and not any(_related(path, name) for name in leave)
    }
    made = {path: _filled(layer) for path, layer in found.items() if isinstance(layer, nn.MultiheadAttention)}
    left = not_borne(core, made, lambda _: core.module)
    made = {path: layer for path, layer in made.items() if path not in left}
    return rewritten_core(core, made, dict.fromkeys(made, Rewrite(ATTENTION))) if made else core


def _related(path: str, name: str) -> bool:
    return f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}.")


def _filled(layer: nn.MultiheadAttention) -> SplitAttention:
    made = SplitAttention(layer).train(layer.training)
    width, names = layer.embed_dim, ("q_proj", "k_proj", "v_proj")
    packed = layer.in_proj_weight
    weights = packed.split(width) if packed is not None else [getattr(layer, f"{name}_weight") for name in names]
    with torch.no_grad():
        for i, name in enumerate(names):
            linear = getattr(made, name)
            linear.weight.copy_(weights[i])
            if layer.in_proj_bias is not None:
                linear.bias.copy_(layer.in_proj_bias[i * width : (i + 1) * width])
        made.out_proj.load_state_dict(layer.out_proj.state_dict())
    return made
