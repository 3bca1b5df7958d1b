"""Subnets as modules for training, points built once and for all, their tensors being views of the family's storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.nest import Share, Supernet, named_tensors, norm_tensors, subnet_shares, subnet_tensors
from concertina.types import SubnetSpec


@dataclass(frozen=True, eq=False)
class Pass:
    """One point or spec, ready for forward and backward passes in train mode.

    Its shared parameters are leaves over the family's storage, so updates of the family are seen at once; those that
    are gathered from several runs are copied anew for every pass. What backward gives is brought back by
    `Passes.collect`.
    """

    module: nn.Module
    private: Mapping[str, Tensor]
    """The private tensors it was built on."""
    leaves: dict[str, nn.Parameter]
    """Shared parameters by name, cut to the subnet."""
    matrices: tuple[Tensor, ...]
    """Those that weight decay acts on."""
    shares: dict[str, Share]
    """What each leaf is of the whole shared parameters."""
    gradients: dict[str, Share]
    """Where in the gradients of the whole shared parameters each leaf's belongs."""
    counters: tuple[tuple[Tensor, int], ...]
    """Batch counters of norms that average over all batches, with the value each pass starts from."""


class Passes:
    """The points of a supernet as resident modules, built when first asked for.

    Building a subnet anew for every pass costs as much as a twelfth of a ResNet-20 step, and gradients through
    `narrow` are padded to full size once per tensor and pass; residents do neither, with the same results bit for bit.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._parameters = dict(supernet.module.named_parameters())
        self._norms = set(norm_tensors(supernet.module))
        self._built: dict[str, Pass] = {}
        self._gradients: dict[str, Tensor] = {}

    def of(self, name: str) -> Pass:
        """Return the pass of a point; it is built anew when tensors below it were replaced or moved."""
        built = self._built.get(name)
        if built is None or not self._is_current(name, built):
            spec = self._supernet.points[name].spec
            built = self._built[name] = self._build(spec, self._supernet.private[name])
        for counter, start in built.counters:
            counter.fill_(start)
        with torch.no_grad():
            for key, leaf in built.leaves.items():
                if len(built.shares[key].views) > 1:
                    leaf.copy_(built.shares[key].read())
        return built

    def at(self, spec: SubnetSpec) -> Pass:
        """Return a pass of any spec, built for the occasion.

        It has no tensors of its own: scales and shifts are the shared ones, and what it notes of its batch's statistics
        is dropped with it.
        """
        supernet, own = self._supernet, dict(self._supernet.module.named_buffers())
        moving = {name: own[name] for name in self._norms if name in own}
        views = subnet_tensors(supernet.space, supernet.space.check(spec), moving)
        return self._build(spec, {name: view.clone() for name, view in views.items()})

    def collect(self, built: Pass) -> None:
        """Add the gradients of the last backward pass to those of the shared parameters."""
        shared = self._parameters
        for key, leaf in built.leaves.items():
            if leaf.grad is None:
                continue
            if shared[key].grad is None:
                shared[key].grad = self._gradients[key].zero_()
            built.gradients[key].add(leaf.grad)
            leaf.grad = None

    def _is_current(self, name: str, built: Pass) -> bool:
        private = self._supernet.private[name]
        return all(built.private.get(key) is tensor for key, tensor in private.items()) and all(
            share.views[0].data_ptr() == self._parameters[key].data_ptr() for key, share in built.shares.items()
        )

    def shared(self, name: str) -> list[Tensor]:
        """Return views of all that a point has of the shared tensors, without those of normalisation layers."""
        tensors = {
            key: tensor.detach()
            for key, tensor in named_tensors(self._supernet.module).items()
            if key not in self._norms
        }
        shares = subnet_shares(self._supernet.space, self._supernet.points[name].spec, tensors)
        return [view for share in shares.values() for view in share.views]

    def _build(self, spec: SubnetSpec, private: Mapping[str, Tensor]) -> Pass:
        supernet, parameters = self._supernet, self._parameters
        shares = subnet_shares(supernet.space, spec, {key: p.detach() for key, p in parameters.items()})
        shares = {key: share for key, share in shares.items() if key not in private}
        leaves = {key: nn.Parameter(share.read(), parameters[key].requires_grad) for key, share in shares.items()}
        trained = {key: leaf for key, leaf in leaves.items() if leaf.requires_grad}
        for key in trained:
            if key not in self._gradients or self._gradients[key].device != parameters[key].device:
                self._gradients[key] = torch.zeros_like(parameters[key], requires_grad=False)
        module = supernet.subnet(spec, {**leaves, **private}, gradient=True).train()
        return Pass(
            module=module,
            private=dict(private),
            leaves=trained,
            matrices=tuple(
                view
                for key, share in shares.items()
                if len(share.shape) > 1 and key not in self._norms
                for view in share.views
            ),
            shares=shares,
            gradients=subnet_shares(supernet.space, spec, {key: self._gradients[key] for key in trained}),
            counters=tuple(_counters(module)),
        )


def _counters(module: nn.Module) -> list[tuple[Tensor, int]]:
    """Return the batch counters that a pass in train mode depends on."""
    found = []
    for layer in module.modules():
        counter = getattr(layer, "num_batches_tracked", None)
        if isinstance(counter, Tensor) and getattr(layer, "momentum", 0.0) is None:
            found.append((counter, int(counter)))
    return found
