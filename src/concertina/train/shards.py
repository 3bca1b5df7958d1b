"""Who holds the trained tensors and updates them: one process all of them, or each of several its share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from concertina.errors import TrainingError
from concertina.train.ranks import Ranks, together


class Holder(Protocol):
    """Brings gradients of whole tensors to what an optimizer updates, and its updates back to the whole tensors."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What the optimizer updates, by the names of the whole tensors."""

    def receive(self) -> None:
        """Give `parameters` the values of the whole tensors and the mean of their gradients."""

    def clip(self, limit: float) -> None:
        """Shrink the gradients of `parameters` so that all together have a norm of `limit` at most."""

    def publish(self) -> None:
        """Give the whole tensors the updated values."""

    def whole(self, name: str, value: Tensor) -> Tensor:
        """Return a tensor of the optimizer's state, which has the shape of a parameter or is one number, in full."""

    def part(self, name: str, value: Tensor) -> Tensor:
        """Return of a full tensor of the optimizer's state what belongs to the parameter here; a copy."""


def holder_of(tensors: Mapping[str, nn.Parameter], ranks: Ranks) -> Holder:
    """Return who holds `tensors`: this process, or all of several together."""
    return Whole(tensors) if ranks.count == 1 else Shards(tensors, ranks)


class Whole:
    """One process holds everything: what the optimizer updates is what the passes read."""

    def __init__(self, tensors: Mapping[str, nn.Parameter]) -> None:
        self.parameters: Mapping[str, nn.Parameter] = tensors

    def receive(self) -> None:
        """Do nothing: all is here."""

    def clip(self, limit: float) -> None:
        """Shrink the gradients, see `Holder`."""
        nn.utils.clip_grad_norm_(self.parameters.values(), limit)

    def publish(self) -> None:
        """Do nothing: all is here."""

    def whole(self, name: str, value: Tensor) -> Tensor:  # noqa: ARG002 - a Holder
        """Return the tensor itself."""
        return value

    def part(self, name: str, value: Tensor) -> Tensor:  # noqa: ARG002 - a Holder
        """Return a copy."""
        return value.clone()


class Shards:
    """Several processes hold a share each: FSDP2 keeps the tensors, cut into as many shares as there are processes.

    For the passes of a step FSDP2 gathers them into storage that the whole tensors, and so the subnets' views, lie
    in. Their gradients, collected over all passes, go through its backward hooks in one go: each process gets the mean
    of its share, whatever layers the passes skipped. Only tensors that some pass gave a gradient to are updated, as in
    one process.

    Args:
        tensors: The whole tensors by name; their storage is replaced.
        ranks: All processes; each makes this at the same time, of equal tensors.

    Raises:
        TrainingError: The tensors are of several number types.
        RankError: Another process failed.

    Source: per-parameter sharding of PyTorch FSDP (`torch.distributed.fsdp.fully_shard`); Zhao et al. 2023
        (arXiv:2304.11277).
    """

    def __init__(self, tensors: Mapping[str, nn.Parameter], ranks: Ranks) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self._ranks, self._tensors = ranks, dict(tensors)
        kinds = sorted({str(tensor.dtype) for tensor in tensors.values()})
        if len(kinds) > 1:
            asked, do = ", ".join(kinds), "Convert the network, or train it in one process."
            raise TrainingError("several processes train weights of one number type", asked=asked, do=do)
        kind = next(iter(tensors.values())).device.type
        with together():
            mesh = init_device_mesh(kind, (ranks.count,))
            self._shelf = _Shelf(list(tensors.values()))
            fully_shard(self._shelf, mesh=mesh, reshard_after_forward=False)
            self._sharded = list(self._shelf.parameters())
            self.parameters: Mapping[str, nn.Parameter] = {
                name: nn.Parameter(cast(Any, shard).to_local())
                for name, shard in zip(tensors, self._sharded, strict=True)
            }
            self._shelf.unshard()  # type: ignore[operator]
        for whole, flat in zip(tensors.values(), self._shelf.parameters(), strict=True):
            whole.data = flat.data.view(whole.shape)

    def receive(self) -> None:
        """Take in values and mean gradients, see `Holder`; until `publish` the whole tensors have no storage."""
        wholes, parameters = self._tensors, self.parameters
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self._cut(wholes[name]))
        taught = self._ranks.any([whole.grad is not None for whole in wholes.values()])
        gradients = {
            place: torch.zeros_like(whole) if whole.grad is None else whole.grad
            for place, (whole, is_taught) in enumerate(zip(wholes.values(), taught, strict=True))
            if is_taught
        }
        with together():
            self._shelf(gradients).backward()
        for parameter, sharded in zip(parameters.values(), self._sharded, strict=True):
            parameter.grad = None if sharded.grad is None else cast(Any, sharded.grad).to_local()
            sharded.grad = None

    def clip(self, limit: float) -> None:
        """Shrink the gradients, see `Holder`."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        (squares,) = self._ranks.sum([sum(float(g.double().square().sum()) for g in gradients)])
        factor = limit / (math.sqrt(squares) + 1e-6)
        for gradient in gradients if factor < 1 else ():
            gradient.mul_(factor)

    def publish(self) -> None:
        """Gather the shares into the whole tensors, whose gradients are done with."""
        with together():
            self._shelf.unshard()  # type: ignore[operator]
        for whole in self._tensors.values():
            whole.grad = None

    def whole(self, name: str, value: Tensor) -> Tensor:
        """Return the shares of all processes as one tensor; all must ask for it."""
        if value.dim() == 0:
            return value
        tensor = self._tensors[name]
        shares = [value.new_zeros(-(-tensor.numel() // self._ranks.count)) for _ in range(self._ranks.count)]
        shares[self._ranks.rank][: value.numel()] = value
        with together():
            dist.all_gather(shares, shares[self._ranks.rank].clone())
        return torch.cat(shares)[: tensor.numel()].view(tensor.shape)

    def part(self, name: str, value: Tensor) -> Tensor:  # noqa: ARG002 - a Holder
        """Return this process's share; single numbers are everybody's."""
        return self._cut(value).clone() if value.dim() else value.clone()

    def _cut(self, tensor: Tensor) -> Tensor:
        """Return this process's share of a whole tensor, flat; the last ones may be shorter or empty."""
        flat, rank = tensor.detach().reshape(-1), self._ranks.rank
        length = -(-flat.numel() // self._ranks.count)
        return flat[length * rank : length * (rank + 1)]


class _Shelf(nn.Module):
    """Flat copies of tensors, as FSDP2 wants them: the parameters of a module whose backward pass it watches."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for place, tensor in enumerate(tensors):
            self.register_parameter(f"tensor{place}", nn.Parameter(tensor.detach().reshape(-1).clone()))

    def forward(self, gradients: Mapping[int, Tensor]) -> Tensor:
        """Return a number whose derivative by each tensor is the gradient given for it."""
        products = [torch.dot(getattr(self, f"tensor{place}"), g.reshape(-1)) for place, g in gradients.items()]
        return torch.stack(products).sum()
