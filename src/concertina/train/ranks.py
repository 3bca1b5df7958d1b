"""The processes that train one family together: who is who, what they tell each other, and how they end as one."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from concertina.errors import InputError, RankError, TrainingError

LAUNCHED_BY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and its like tell each process."""
PATIENCE = timedelta(minutes=10)
"""How long processes wait for each other inside a step before they give up."""
LOOK_EVERY_S = 0.05
FAILED = "failed"
INTERRUPTED = 130
_TURNS = itertools.count()
"""Numbers what is told; all processes run the same program, so all count alike."""


@dataclass(frozen=True)
class Ranks:
    """All processes as one of them sees them; a process by itself is the first of one.

    Whatever has the word "all" in its text must be called by all processes, in the same order.

    Example:
        >>> alone = Ranks()
        >>> alone.first, alone.share(32), alone.sum([1.5])
        (True, slice(0, 32, None), [1.5])
    """

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""

    @classmethod
    def here(cls) -> Ranks:
        """Return the processes of the group that this one is in."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, num_samples: int) -> slice:
        """Return this process's part of a batch; parts differ in size by one sample at most."""
        return slice(num_samples * self.rank // self.count, num_samples * (self.rank + 1) // self.count)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes."""
        return (
            self._reduced(torch.tensor(values, dtype=torch.float64), dist.ReduceOp.SUM) if self.count > 1 else [*values]
        )

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether any of all processes has it set."""
        if self.count == 1:
            return [*flags]
        return [bool(flag) for flag in self._reduced(torch.tensor(flags, dtype=torch.int32), dist.ReduceOp.MAX)]

    def wait(self) -> None:
        """Wait until all processes have come this far."""
        self.any([False])

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all processes in place of each tensor."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with together():
            dist.all_reduce(flat)
        means = (flat / self.count).split([tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view_as(tensor))

    def hand_out(self, tensors: Iterable[Tensor]) -> None:
        """Put the first process's values in place of all others', bit for bit; shapes and types are the same."""
        for tensor in tensors if self.count > 1 else ():
            flat = tensor.detach().reshape(-1).contiguous().view(torch.uint8).to(_device())
            with together():
                dist.broadcast(flat, 0)
            with torch.no_grad():
                tensor.copy_(flat.to(tensor.device).view(tensor.dtype).view_as(tensor))

    def told(self, make: Callable[[], Any]) -> Any:
        """Return what the first process makes, on all; the others wait however long it takes.

        Args:
            make: Gives plain JSON values; called by the first process only.

        Raises:
            RankError: The first process failed meanwhile.
        """
        if self.count == 1:
            return make()
        store, key = _store(), f"told/{next(_TURNS)}"
        text = json.dumps(make()) if self.first else ""
        with together():
            if self.first:
                store.set(key, text)
            else:
                text = _awaited(store, key)
        return json.loads(text)

    def agree(self, what: str, values: Mapping[str, object]) -> None:
        """Refuse to go on where this process has other values than the first.

        Raises:
            TrainingError: They differ; the text names which and both values.
        """
        theirs, own = self.told(lambda: values), json.loads(json.dumps(values))
        changed = [key for key in own | theirs if own.get(key) != theirs.get(key)] if self.count > 1 else []
        if changed:
            found = (f"{key}: {theirs.get(key)} there, {own.get(key)} here" for key in changed[:3])
            raise TrainingError(
                f"process {self.rank} and process 0 differ in {what}",
                asked="; ".join(found),
                do="Give all processes the same data, settings and versions, on machines of one kind.",
            )

    def check_batch(self, num_samples: int) -> None:
        """Refuse batches that leave a process less than two samples.

        Raises:
            InputError: A batch is too small for so many processes.
        """
        if self.count > 1 and num_samples < 2 * self.count:
            asked, allowed = f"{num_samples} samples for {self.count} processes", f"{2 * self.count} or more"
            raise InputError(
                "a training batch", asked=asked, allowed=allowed, do="Take larger batches, or fewer processes."
            )

    def check_device(self, device: str) -> None:
        """Refuse devices of which not each process has one of its own.

        Raises:
            InputError: There are too few, or one was asked for by its number.
        """
        if self.count == 1 or not device.startswith("cuda"):
            return
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        if device != "cuda":
            raise InputError("option device", asked=f"{device!r} for {self.count} processes", allowed="cpu, cuda")
        if here > torch.cuda.device_count():
            asked = f"{here} processes on a machine with {torch.cuda.device_count()}"
            raise InputError("option device 'cuda'", asked=asked, allowed="a device for each process")

    def _reduced(self, values: Tensor, how: Any) -> list[Any]:
        values = values.to(_device())
        with together():
            dist.all_reduce(values, how)
        return values.tolist()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Work together with the processes that a launcher such as torchrun started; alone where there is none.

    When one fails, all do: the first to fail has its own error, all others a `RankError` that quotes it.

    Yields:
        All processes as this one sees them.

    Raises:
        RankError: Another process failed, or did not come.
        InputError: The launcher's variables are no numbers.
    """
    if dist.is_available() and not dist.is_initialized() and _is_launched():
        _join()
    ranks = Ranks.here()
    if ranks.count == 1:
        yield ranks
        return
    _store()
    try:
        yield ranks
    except BaseException as error:
        said = _first_failure(ranks, error)
        if said is None:
            raise
        if not isinstance(error, Exception):
            raise SystemExit(INTERRUPTED) from error
        raise RankError(said, quotes=True) from error


@contextmanager
def together() -> Iterator[None]:
    """Name the error when another process is gone or does not answer in time.

    Raises:
        RankError: One of them did.
    """
    try:
        yield
    except RuntimeError as error:
        asked = re.sub(r"^\[\S+:\d+\] ", "", re.split(r"\n|\. ", str(error).strip())[0])
        raise RankError("another process of the run has ended or does not answer", asked=asked) from error


def _is_launched() -> bool:
    found = {name: os.environ[name] for name in LAUNCHED_BY if name in os.environ}
    if len(found) < len(LAUNCHED_BY):
        return False
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "LOCAL_RANK"):
        value = os.environ.get(name, "0")
        if not value.isdecimal():
            raise InputError(f"environment variable {name}", asked=repr(value), allowed="a whole number")
    return int(found["WORLD_SIZE"]) > 1


def _join() -> None:
    """Make the process group.

    Where torchrun starts processes again, its store still has the addresses of the dead ones; hence a name for each
    start.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    local, cards = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local < cards:
        torch.cuda.set_device(local)
    backend, start = "cpu:gloo,cuda:nccl" if cards else "gloo", os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    with together():
        store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        own = PrefixStore(f"start {start}", store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=PATIENCE)
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _store() -> Any:
    """Return a store of keys and values for what all processes tell each other; all must ask for it the first time."""
    return _store_of(dist.group.WORLD)


@cache
def _store_of(group: Any) -> Any:  # noqa: ARG001 - each group has its own
    """Return the group's store, which torch has no public way to, under a name that no other run has used.

    Where torchrun starts processes again, what the earlier ones told is still in the store.
    """
    from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

    name = torch.tensor([secrets.randbits(62)], device=_device())
    with together():
        dist.broadcast(name, 0)
    return PrefixStore(f"concertina/{int(name)}", _get_default_store())


def _device() -> torch.device:
    """Return where small values must lie to be sent."""
    if "cpu" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _awaited(store: Any, key: str) -> str:
    """Return what the first process tells, unless a process fails before."""
    while not store.check([key]):
        if store.check([FAILED]):
            raise RankError(_said_in(store.get(FAILED)), quotes=True)
        time.sleep(LOOK_EVERY_S)
    text: str = store.get(key).decode()
    return text


def _first_failure(ranks: Ranks, error: BaseException) -> str | None:
    """Note a failure, and return None where it is the first of all, else what to say of the one before it."""
    own = json.dumps([ranks.rank, f"{error}".strip() or type(error).__name__])
    try:
        store = _store()
        noted = store.compare_set(FAILED, "", own)
    except RuntimeError:  # the store went with the process that held it
        return None
    return None if json.loads(noted)[0] == ranks.rank else _said_in(noted)


def _said_in(note: bytes) -> str:
    rank, text = json.loads(note)
    return f"process {rank} of the run failed: {text}"
