"""A small vision transformer whose heads, widths and depth can all shrink."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.load.transformer import FeedForward, by_heads
from concertina.load.zoo.base import DIGITS_CLASSES, DIGITS_PREPROCESS, ZOO, ZooNetwork


class Attention(nn.Module):
    """Self-attention with separate projections; the number of heads follows from the projections' width.

    Args:
        width: Width of the stream.
        heads: Number of heads; `width / heads` is the fixed size of one.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.head_size = width // heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended stream; (batch, tokens, width) in and out."""
        q, k, v = (by_heads(linear(x), self.head_size) for linear in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and feed-forward, each after a layer norm and over a shortcut: (batch, tokens, width)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus what both halves add."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """Small vision transformer, pre-norm, with mean pooling: made for 8x8 digits, sized by its arguments.

    Args:
        image_size: Height and width of the images; a multiple of `patch_size`.
        patch_size: Height and width of a patch.
        channels: Channels of the images.
        classes: Number of outputs.
        width: Width of the stream; a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads per block. The feed-forward layers are twice as wide as the stream.
    """

    def __init__(
        self,
        image_size: int = 8,
        patch_size: int = 2,
        channels: int = 1,
        classes: int = 10,
        width: int = 48,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image size {image_size} is no multiple of the patch size {patch_size}")
        tokens = (image_size // patch_size) ** 2
        self.embed = nn.Conv2d(channels, width, patch_size, patch_size)
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, 2 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, image_size, image_size)."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def _shape(channels: int, image_size: int, **_: object) -> tuple[int, ...]:
    return (channels, image_size, image_size)


ZOO.register(
    "tiny-vit",
    source="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words (arXiv 2010.11929)",
    licence="Apache-2.0",
    year=2021,
)(ZooNetwork(TinyViT, _shape, DIGITS_PREPROCESS, DIGITS_CLASSES, augment="shift", weights="tiny-vit.safetensors"))
