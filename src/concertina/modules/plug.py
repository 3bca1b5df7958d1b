"""Modules on subnets: attached, or as changes of weights to merge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from concertina.modules.base import Kind

Cut = Mapping[str, Mapping[str, Tensor]]
"""Path of a layer -> name -> own tensor, cut to a subnet; layers that the subnet lacks are not among them."""


def attach(subnet: nn.Module, kind: Kind, own: Cut, options: Mapping[str, Any]) -> None:
    """Let the layers of a subnet compute with a module, in place; their weights stay shared and as they are.

    Args:
        subnet: A subnet by itself: its layers are no other's.
        kind: The kind.
        own: The module's tensors, cut to the subnet.
        options: The module's options.
    """
    for path, tensors in own.items():
        kind.attach(subnet.get_submodule(path), tensors, options)


def deltas(subnet: nn.Module, kind: Kind, own: Cut, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return name of a tensor -> what a module adds to it, in the subnet's shapes.

    Args:
        subnet: The subnet without the module.
        kind: A mergeable kind.
        own: The module's tensors, cut to the subnet.
        options: The module's options.
    """
    found = {}
    for path, tensors in own.items():
        for attribute, change in kind.delta(subnet.get_submodule(path), tensors, options).items():
            found[f"{path}.{attribute}"] = change
    return found
