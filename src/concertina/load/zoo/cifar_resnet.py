"""The CIFAR residual networks with parameter-free (option A) shortcuts."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from concertina.load.zoo.base import ZOO, ZooNetwork
from concertina.types import Preprocess

CIFAR10_PREPROCESS = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The ImageNet figures: those with which the published CIFAR weights were trained."""
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SOURCE = "He et al. 2016, Deep Residual Learning for Image Recognition (arXiv 1512.03385), section 4.2"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions over an option-A shortcut: (batch, in, h, w) -> (batch, out, h / stride, w / stride).

    Where the stage changes, the shortcut takes every second row and column and adds zero channels, half of
    them before and half after, so old channel i becomes channel i + (out - in) / 2.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride, self.padding = stride, (out_channels - in_channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut of `x` plus what the block adds, activated."""
        added = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(added + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Return `x`, subsampled and padded with zero channels where the stage changes."""
        if self.stride == 1 and self.padding == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class CifarResNet(nn.Module):
    """CIFAR residual network with option-A shortcuts: three stages of 16, 32 and 64 channels, 6n + 2 layers.

    Args:
        blocks: Residual blocks per stage: 3 for ResNet-20, 9 for ResNet-56.
        width: Channels of the first stage; the next have twice and four times as many.
        classes: Number of outputs.
    """

    def __init__(self, blocks: int = 3, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Return one stage: the first block changes channels and resolution, the others keep them."""
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))


def cifar_resnet20(blocks: int = 3, width: int = 16, classes: int = 10) -> CifarResNet:
    """CIFAR ResNet-20 with option-A shortcuts: 3 blocks a stage, 0.27 M parameters."""
    return CifarResNet(blocks, width, classes)


def cifar_resnet56(blocks: int = 9, width: int = 16, classes: int = 10) -> CifarResNet:
    """CIFAR ResNet-56 with option-A shortcuts: 9 blocks a stage, 0.85 M parameters."""
    return CifarResNet(blocks, width, classes)


def _shape(**_: object) -> tuple[int, ...]:
    return (3, 32, 32)


_network = partial(
    ZooNetwork,
    input_shape=_shape,
    preprocess=CIFAR10_PREPROCESS,
    class_names=CIFAR10_CLASSES,
    augment="flip-crop",
)
ZOO.register("cifar-resnet20", source=SOURCE, year=2016)(_network(cifar_resnet20))
ZOO.register("cifar-resnet56", source=SOURCE, year=2016)(_network(cifar_resnet56))
