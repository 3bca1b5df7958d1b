"""Small networks that come with the package, each found by its name in `ZOO`."""

from __future__ import annotations

from concertina.load.zoo import cifar_resnet, digits_cnn, mlp, sentence_encoder, table_mlp, tiny_decoder, tiny_vit
from concertina.load.zoo.base import ZOO, ZooNetwork

__all__ = [
    "ZOO",
    "ZooNetwork",
    "cifar_resnet",
    "digits_cnn",
    "mlp",
    "sentence_encoder",
    "table_mlp",
    "tiny_decoder",
    "tiny_vit",
]
