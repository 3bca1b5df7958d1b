"""The whole analysis of a network: which of its channels, heads and blocks can go, and why the others cannot."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from concertina.analyse.alternatives import alternatives
from concertina.analyse.blocks import find_blocks
from concertina.analyse.by_hand import Declared, check_names
from concertina.analyse.factored import pairs_in
from concertina.analyse.groups import Owned, coupled_groups, in_order, keys_of, uncoupled_groups
from concertina.analyse.heads import judged_heads
from concertina.analyse.jointly import verify_jointly
from concertina.analyse.permute import rigid
from concertina.analyse.probe import Probe
from concertina.analyse.randomise import first_two
from concertina.analyse.reach import unreached_modules
from concertina.analyse.requests import Requests
from concertina.analyse.trace import Proposal, propose
from concertina.analyse.verify import Verdict, verify_first, verify_group
from concertina.errors import AnalysisError
from concertina.load.running import run_checked
from concertina.types import Block, Core, Graph

Progress = Callable[[str, float], None]
"""Called with what is being done and which share of it is done."""


def analyse(
    core: Core,
    *,
    ignore: Sequence[str] = (),
    groups: Sequence[Declared] = (),
    seed: int = 0,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
) -> Graph:
    """Return the groups and blocks of a network, each verified, or rigid with its reason.

    Nothing is taken on trust: proposals are checked on a copy with random weights, by running it. The core is left as
    it was, and so is torch's global source of randomness. Equal seeds give equal results.

    Args:
        core: The network.
        ignore: Paths of modules (with all inside them) and names of groups that are to be kept whole. Naming a module
            that the example inputs never reach vouches that no input will: without that, nothing is elastic.
        groups: Groups declared by hand (`group`), for layers without a rule; they come before what is found.
        seed: Seed of the random weights and orders.
        time_limit_s: Seconds that the search for coupled channels may take; groups not found by then are rigid.
        progress: Told now and then what is done and how much of it.

    Raises:
        AnalysisError: The network has weights that are not finite, does not run on its example inputs, gives
            something else than one tensor, or has no module of a name in `ignore`.

    Example:
        >>> from concertina.load import load
        >>> graph = analyse(load("zoo:mlp"))
        >>> [(group.name, group.units, group.rigid) for group in graph.groups][-2:]
        [('layers.2', 64, ''), ('head', 10, "it is the network's output")]
    """
    tell = progress or (lambda _what, _done: None)
    _check_finite(core.module)
    own = copy.deepcopy(core.module).cpu().eval()
    inputs = tuple(item.cpu() for item in first_two(core.example_inputs))
    with torch.no_grad():
        run_checked(own, inputs, core.source, AnalysisError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a network says of its random and cut versions is of no use to anyone
        probe = Probe.of(core, seed)
        unreached = _unreached(own, inputs, probe)
        tell("finding coupled channels", 0.0)
        proposal = propose(own, inputs, time_limit_s)
        requests = Requests.of(ignore)
        by_hand = [
            verify_group(probe, requests.on_group(declared.on(probe.module, probe.wiring))) for declared in groups
        ]
        verdicts = _judge(probe, proposal, unreached, requests, by_hand, tell)
        requests.check(probe.module, [verdict.group.name for verdict in verdicts])
        blocks = [requests.on_block(block) for block in find_blocks(probe)]
        doubtful = [path for path in unreached if not requests.vouches_for(path)]
        tell("verifying all together", 0.95)
        judged, gates = verify_jointly(probe, *_doubted(verdicts, blocks, doubtful))
    tell("verifying all together", 1.0)
    ordered = tuple(in_order(probe.wiring, [verdict.group for verdict in judged]))
    return Graph(ordered, tuple(gates), unreached, pairs_in(core.module))


def _check_finite(module: nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise AnalysisError(f"tensor {name!r} of the network is on the meta device, without values")
        if isinstance(tensor, nn.Parameter) and not bool(torch.isfinite(tensor).all()):
            raise AnalysisError(
                f"tensor {name!r} of the network", asked="NaN or infinite values", allowed="finite values"
            )


def _unreached(own: nn.Module, inputs: tuple[Tensor, ...], probe: Probe) -> tuple[str, ...]:
    """Return the modules that the example inputs reach neither with the real weights nor with random ones."""
    missing = {*unreached_modules(own, inputs), *unreached_modules(copy.deepcopy(probe.module), probe.inputs)}
    return tuple(path for path, _ in own.named_modules() if path in missing)


def _judge(
    probe: Probe,
    proposal: Proposal,
    unreached: Sequence[str],
    requests: Requests,
    by_hand: Sequence[Verdict],
    tell: Progress,
) -> list[Verdict]:
    """Return the verdicts on all groups: those by hand, heads by name, what was proposed, then layers left over."""
    wiring, owned = probe.wiring, Owned(verdict.group for verdict in by_hand)
    heads = judged_heads(probe, requests)
    verdicts = [*by_hand, *(verdict for verdict in heads if not owned.meets(verdict.group))]
    groups = coupled_groups(wiring, proposal.couplings, [verdict.group for verdict in verdicts])
    check_names([verdict.group for verdict in by_hand], [*(v.group for v in verdicts[len(by_hand) :]), *groups])
    for done, group in enumerate(groups):
        tell("verifying groups", 0.05 + 0.9 * done / len(groups))
        others = set(keys_of([*(v.group for v in verdicts), *groups])) - set(keys_of([group]))
        verdicts.append(verify_first(probe, alternatives(probe, requests.on_group(group), others)))
    why = proposal.complaint or "the search for coupled channels does not see it"
    listed = keys_of(verdict.group for verdict in verdicts)
    return verdicts + [Verdict(group) for group in uncoupled_groups(wiring, listed, unreached, f"propose: {why}")]


def _doubted(
    verdicts: Sequence[Verdict], blocks: Sequence[Block], doubtful: Sequence[str]
) -> tuple[list[Verdict], list[Block]]:
    """Return everything as rigid where a module is never reached: it may use what would be dropped."""
    if not doubtful:
        return list(verdicts), list(blocks)
    why = f"the example inputs never reach '{doubtful[0]}', which may use it; give other inputs or ignore that module"
    groups = [replace(v, group=rigid(v.group, "reach", why)) if v.group.elastic else v for v in verdicts]
    return groups, [replace(block, rigid=f"reach: {why}") if block.elastic else block for block in blocks]
