"""Small networks of every kind for the analysis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.types import Core

IMAGES = (2, 3, 8, 8)
TOKENS = (2, 6, 12)


def core_of(module: nn.Module, *shape: int, inputs: Sequence[Tensor] = ()) -> Core:
    """Return a network as a core, called with standard normal inputs of a shape, or with the inputs given."""
    given = tuple(inputs) or (torch.randn(*shape, generator=torch.Generator().manual_seed(1)),)
    return Core(module.eval(), given, f"module:{type(module).__name__}", "")


def convolution(a: int, b: int, size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, padding=size // 2, **options)


class BufferScale(nn.Module):
    """A float buffer of ones that scales channels, and a parameter (1, C, H, W) that is added to them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(3, 8), convolution(8, 5)
        self.place = nn.Parameter(torch.randn(1, 8, 8, 8))
        self.register_buffer("scale", torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x) * self.scale + self.place)).mean((2, 3))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(3, 12)
        self.depthwise = convolution(12, 12, groups=12)
        self.norm = nn.BatchNorm2d(12)
        self.conv2 = convolution(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.norm(self.depthwise(F.relu(self.conv1(x)))))).mean((2, 3))


class Grouped(nn.Module):
    """A grouped convolution with twice as many channels out as in; a unit is one of its 4 groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(3, 8)
        self.grouped = convolution(8, 16, groups=4)
        self.conv2 = convolution(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.grouped(F.relu(self.conv1(x))))).mean((2, 3))


class GroupNormed(nn.Module):
    def __init__(self, groups: int = 4) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = convolution(3, 12), nn.GroupNorm(groups, 12), convolution(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.norm(self.conv1(x)))).mean((2, 3))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = convolution(3, 6), convolution(3, 10)
        self.reader, self.head = convolution(16, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reader(torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1))
        return self.head(F.relu(x).mean((2, 3)))


class Flatten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc, self.head = convolution(3, 6), nn.Linear(6 * 16, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1))))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = convolution(3, 12), nn.BatchNorm2d(12), convolution(12, 5)
        self.squeeze, self.excite = nn.Linear(12, 4), nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv1(x)))
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.conv2(x * scale[:, :, None, None]).mean((2, 3))


class SharedMLP(nn.Module):
    """One residual MLP used twice on the stream, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
        self.mlp = nn.Sequential(nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.mlp(x)
        return self.head(x + self.mlp(x)).mean(1)


class TiedLayers(nn.Module):
    """Two linear layers that hold one weight; stream and hidden width are both tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
        self.up1, self.up2, self.down = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)
        self.up2.weight = self.up1.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.down(F.gelu(self.up1(x)))
        return self.head(x + self.down(torch.tanh(self.up2(x)))).mean(1)


class TiedVocabulary(nn.Module):
    """Token embedding and output layer hold one weight: its width is elastic, the vocabulary is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.decode = nn.Linear(8, 11)
        self.decode.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = x + self.down(F.gelu(self.up(x)))
        return self.decode(self.norm(x))


class BranchNotTaken(nn.Module):
    """A second reader of the channels that only long inputs reach."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.other = nn.Linear(12, 16), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.up(x))
        return (self.other(hidden) if x.shape[1] > 100 else self.down(hidden)).mean(1)


class ScaledBlock(nn.Module):
    """Residual MLP behind a layer scale of a millionth, as ConvNeXt has at its start."""

    def __init__(self, width: int = 8, inner: int = 16) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(inner, width)
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.fc2(F.gelu(self.fc1(self.norm(x))))


class LayerScaled(nn.Module):
    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
        self.blocks = nn.Sequential(*(ScaledBlock() for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)).mean(1))


class CountedAttention(nn.Module):
    """Attention that splits by a declared number of heads, so that the number has to follow the slice."""

    def __init__(self, width: int, num_heads: int, kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.size = num_heads, kv_heads, width // num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj, self.v_proj = (nn.Linear(width, kv_heads * self.size) for _ in range(2))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q = self._split(self.q_proj(x), self.num_heads)
        k, v = (self._split(linear(x), self.num_kv_heads) for linear in (self.k_proj, self.v_proj))
        times = self.num_heads // self.num_kv_heads
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        mixed = (q @ k.transpose(2, 3) / math.sqrt(self.size)).softmax(-1) @ v
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:2], heads, self.size).transpose(1, 2)


class EncoderBlock(nn.Module):
    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), attention, nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Class token and position table, encoder blocks, classes from the token; any attention."""

    def __init__(self, make: Callable[[], nn.Module], width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(12, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, 7, width))
        self.blocks = nn.ModuleList(EncoderBlock(make(), width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class FusedAttention(nn.Module):
    """Query, key and value in one matrix: its parts are no prefix, so its heads must be rigid."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TorchAttention(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class SharedBlocks(nn.Module):
    """Residual blocks that are used twice, that share a weight, that take a keyword, and one that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
        self.twice, self.shared, self.sharing, self.keyword, self.free = (ScaledBlock() for _ in range(5))
        self.sharing.fc1.weight = self.shared.fc1.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.embed(x)))
        x = self.keyword(x=self.sharing(self.shared(x)))
        return self.head(self.free(x).mean(1))


class Wrapped(nn.Module):
    """Residual wrappers around sub-layers, as in pre-norm transformers built of small parts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
        self.stages = nn.Sequential(nn.Sequential(Residual(), nn.Identity(), Residual()), nn.Sequential(Residual()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.embed(x)).mean(1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fn = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class Parallel(nn.Module):
    """Two hidden layers side by side, of equal width, that have nothing to do with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.up1, self.down1, self.up2, self.down2 = (nn.Linear(*s) for s in ((12, 8), (8, 5), (12, 8), (8, 5)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.down1(F.relu(self.up1(x))) + self.down2(F.relu(self.up2(x)))).mean(1)


SEARCH_S = 5.0
"""Seconds for the search on a network of these, many times what it needs; on counted heads it does not end."""
SOUND: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "buffer": (BufferScale, IMAGES),
    "depthwise": (Depthwise, IMAGES),
    "grouped": (Grouped, IMAGES),
    "group norm": (GroupNormed, IMAGES),
    "one group norm": (lambda: GroupNormed(1), IMAGES),
    "concat": (Concat, IMAGES),
    "flatten": (Flatten, IMAGES),
    "squeeze-excite": (SqueezeExcite, IMAGES),
    "shared MLP": (SharedMLP, TOKENS),
    "tied layers": (TiedLayers, TOKENS),
    "layer scale": (LayerScaled, TOKENS),
    "counted heads": (lambda: Transformer(lambda: CountedAttention(16, 4, 4)), TOKENS),
    "grouped queries": (lambda: Transformer(lambda: CountedAttention(16, 4, 2)), TOKENS),
    "fused attention": (lambda: Transformer(FusedAttention), TOKENS),
    "torch attention": (lambda: Transformer(TorchAttention), TOKENS),
    "shared blocks": (SharedBlocks, TOKENS),
    "wrapped": (Wrapped, TOKENS),
    "parallel": (Parallel, TOKENS),
    "branch": (BranchNotTaken, TOKENS),
}
