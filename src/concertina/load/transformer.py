"""What the transformers of the zoo have in common."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def by_heads(x: Tensor, head_size: int) -> Tensor:
    """Return (batch, tokens, heads * head_size) as (batch, heads, tokens, head_size); how many heads follows from `x`.

    Example:
        >>> import torch
        >>> by_heads(torch.zeros(2, 5, 12), 4).shape
        torch.Size([2, 3, 5, 4])
    """
    batch, tokens = x.shape[:2]
    return x.view(batch, tokens, -1, head_size).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them; (batch, tokens, width) in and out."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer adds to the stream."""
        return self.fc2(F.gelu(self.fc1(x)))
