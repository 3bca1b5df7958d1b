"""Which weights smaller points leave out: what sparse learning presses towards zero before anything is cut."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.nest import Supernet, subnet_shares


def left_out(supernet: Supernet) -> list[tuple[Tensor, Tensor]]:
    """Return each shared parameter that is cut somewhere, with the share of the smaller points that lack each element.

    Both tensors of a pair have the parameter's shape; the first shares its storage.

    Source: growing regularisation of what will be pruned, Wang et al. 2020 (arXiv:2012.09243).
    """
    parameters = {name: p.detach() for name, p in supernet.module.named_parameters() if p.is_floating_point()}
    shares = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    smaller = list(supernet.points.values())[:-1]
    for point in smaller:
        gone = {name: torch.ones_like(tensor) for name, tensor in parameters.items()}
        for share in subnet_shares(supernet.space, point.spec, gone).values():
            for view in share.views:
                view.zero_()
        for name, tensor in gone.items():
            shares[name] += tensor / len(smaller)
    return [(tensor, shares[name]) for name, tensor in parameters.items() if bool(shares[name].any())]


def press(pairs: list[tuple[Tensor, Tensor]], strength: float) -> None:
    """Take `strength` times its share off each element, in place."""
    with torch.no_grad():
        for tensor, share in pairs:
            tensor.addcmul_(tensor, share, value=-strength)
