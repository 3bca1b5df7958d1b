"""Small networks in plain torch with what transformers has none of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Built = tuple[nn.Module, tuple[Tensor, ...]]


def images(size: int = 32) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)),)


def vgg16_bn(width: int = 8) -> nn.Module:
    """VGG-16 with batch norm, an eighth as wide (Simonyan & Zisserman 2015, arXiv 1409.1556)."""
    layers: list[nn.Module] = []
    channels = 3
    for times, repeats in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, times * width, 3, padding=1), nn.BatchNorm2d(times * width), nn.ReLU()]
            channels = times * width
        layers.append(nn.MaxPool2d(2))
    hidden = 64
    head = [
        nn.Flatten(),
        nn.Linear(channels, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 5),
    ]
    return nn.Sequential(*layers, *head)


def alexnet() -> nn.Module:
    """AlexNet's layers, an eighth as wide, for images of 32 x 32 (Krizhevsky et al. 2012)."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(128, 64),
        nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5),
    )  # fmt: skip


class Mixed(nn.Module):
    """Depthwise, grouped and transposed convolutions, and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depthwise, self.pointwise = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 24, 1)
        self.grouped = nn.Conv2d(24, 24, 3, 2, 1, groups=4)
        self.up = nn.ConvTranspose2d(24, 16, 2, 2)
        self.joined, self.head = nn.Conv2d(40, 20, 1), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        wide = F.relu(self.pointwise(F.relu(self.depthwise(x))))
        up = F.relu(self.up(F.relu(self.grouped(wide))))
        return self.head(F.relu(self.joined(torch.cat((wide, up), 1))).mean((2, 3)))


class UNet(nn.Module):
    """Two levels down and up with shortcuts by concatenation (Ronneberger et al. 2015, arXiv 1505.04597)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()

        def pair(inputs: int, outputs: int) -> nn.Sequential:
            convolutions = (nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1))
            norms = (nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs))
            return nn.Sequential(convolutions[0], norms[0], nn.ReLU(), convolutions[1], norms[1], nn.ReLU())

        self.down1, self.down2, self.bottom = pair(3, width), pair(width, 2 * width), pair(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1 = pair(4 * width, 2 * width), pair(2 * width, width)
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.join2(torch.cat((second, self.up2(x)), 1))
        return self.head(self.join1(torch.cat((first, self.up1(x)), 1)))


class Recurrent(nn.Module):
    """A recurrent layer between two linear layers."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed, self.recurrent, self.head = nn.Linear(6, 16), kind(16, 24, batch_first=True), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(F.relu(self.embed(x)))[0].mean(1))


class DecoderBlock(nn.Module):
    """Causal attention and a feed-forward, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        q, k, v = (f(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class TiedDecoder(nn.Module):
    """A decoder whose output layer is its embedding table."""

    def __init__(self, words: int = 40, width: int = 16, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, width), nn.Parameter(0.1 * torch.randn(12, width))
        self.layers, self.norm = nn.ModuleList(DecoderBlock(width, heads) for _ in range(layers)), nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.place[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Encoded(nn.Module):
    """Tokens through torch's own encoder, whose attention is `nn.MultiheadAttention`."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.embed, self.encoder = nn.Embedding(40, width), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(ids)).mean(1))


def _rows() -> tuple[Tensor, ...]:
    return (torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1)),)


def _ids() -> tuple[Tensor, ...]:
    return (torch.randint(1, 40, (2, 9), generator=torch.Generator().manual_seed(1)),)


NETWORKS: dict[str, Callable[[], Built]] = {
    "VGG-16-BN": lambda: (vgg16_bn(), images()),
    "AlexNet": lambda: (alexnet(), images()),
    "Depthwise, grouped, transposed, concatenated": lambda: (Mixed(), images(16)),
    "U-Net": lambda: (UNet(), images(16)),
    "LSTM": lambda: (Recurrent(nn.LSTM), _rows()),
    "GRU": lambda: (Recurrent(nn.GRU), _rows()),
    "nn.TransformerEncoder": lambda: (Encoded(), _ids()),
    "Decoder with a tied table": lambda: (TiedDecoder(), _ids()),
}
"""Name -> a function that builds the network."""
