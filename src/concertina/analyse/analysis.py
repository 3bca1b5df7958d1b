"""The whole analysis of a network: which of its channels, heads and blocks can go, and why the others cannot."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache as cache_forever
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from concertina.analyse.alternatives import alternatives
from concertina.analyse.blocks import find_blocks
from concertina.analyse.by_hand import Declared, check_names
from concertina.analyse.cut import trained
from concertina.analyse.factored import pairs_in
from concertina.analyse.groups import Owned, coupled_groups, in_order, keys_of, uncoupled_groups
from concertina.analyse.heads import judged_heads
from concertina.analyse.identity import identity
from concertina.analyse.jointly import verify_jointly
from concertina.analyse.kept import is_on, keep, kept
from concertina.analyse.layers import Key
from concertina.analyse.permute import rigid
from concertina.analyse.probe import Probe
from concertina.analyse.randomise import first_two
from concertina.analyse.reach import unreached_modules
from concertina.analyse.requests import BY_REQUEST, Requests
from concertina.analyse.slicing import copy_with_tensors
from concertina.analyse.smaller import smaller
from concertina.analyse.trace import Proposal, propose
from concertina.analyse.verify import Verdict, verify_first, verify_group
from concertina.errors import AnalysisError
from concertina.load.running import run_checked
from concertina.types import Block, Core, Graph, Group
from concertina.types.network import IS_OUTPUT

log = logging.getLogger("concertina")

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
    cache: bool = True,
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
        cache: Whether the outcome may come from the user's cache folder, and is kept there. It does so only for the
            same weights, inputs, code and versions, and never with groups by hand. `CONCERTINA_ANALYSIS_CACHE=off` in
            the environment turns it off everywhere.

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
    requests = Requests.of(ignore)
    known_as = _identity(core, requests, seed) if cache and not groups and is_on() else ""
    known = kept(known_as) if known_as else None
    if known is not None:
        tell("verifying all together", 1.0)
        return known
    graph, is_complete = _analysed(core, requests, groups, seed, time_limit_s, tell)
    if known_as and is_complete:
        keep(known_as, graph)
    return graph


def _identity(core: Core, requests: Requests, seed: int) -> str:
    """Return what an analysis is kept under; "" where that cannot be told."""
    asked = {"torch-pruning": version("torch-pruning"), "code": _code(), "ignore": requests.names, "seed": seed}
    try:
        return identity(core.module, first_two(core.example_inputs), asked)
    except Exception as error:  # attributes of a user's objects may do anything; then nothing is kept
        log.debug("an analysis without a cache: %s: %s", type(error).__name__, error)
        return ""


@cache_forever
def _code() -> str:
    """Return a digest of the files of this room, so that a graph is never older than what verifies it."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _analysed(
    core: Core, requests: Requests, groups: Sequence[Declared], seed: int, time_limit_s: float, tell: Progress
) -> tuple[Graph, bool]:
    """Return the graph, and whether the search for coupled channels came to its end."""
    own = copy.deepcopy(core.module).cpu().eval()
    inputs = tuple(item.cpu() for item in first_two(core.example_inputs))
    with torch.no_grad():
        run_checked(own, inputs, core.source, AnalysisError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a network says of its random and cut versions is of no use to anyone
        tell("finding coupled channels", 0.0)
        probe = Probe.of(core, seed)
        tell("finding coupled channels", 0.02)
        unreached = _unreached(own, inputs, probe)
        proposal = propose(own, inputs, time_limit_s)
        probes = tuple(dict.fromkeys((smaller(probe), probe)))
        by_hand = [
            verify_group(probe, requests.on_group(declared.on(probe.module, probe.wiring))) for declared in groups
        ]
        verdicts = _judge(probes, proposal, unreached, requests, by_hand, tell)
        whole = trained(probes[0], [verdict.group for verdict in verdicts])
        verdicts = [replace(verdict, group=group) for verdict, group in zip(verdicts, whole, strict=True)]
        requests.check(probe.module, [verdict.group.name for verdict in verdicts])
        tell("verifying groups", 0.8)
        blocks = [requests.on_block(block) for block in find_blocks(probes[0])]
        doubtful = [path for path in unreached if not requests.vouches_for(path)]
        judged, gates = _all_together(probes, *_doubted(verdicts, blocks, doubtful), tell)
    tell("verifying all together", 1.0)
    ordered = tuple(in_order(probe.wiring, [verdict.group for verdict in judged]))
    return Graph(ordered, tuple(gates), unreached, pairs_in(core.module)), not proposal.complaint


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
    tensors = {name: tensor.detach() for name, tensor in probe.tensors.items()}
    missing = {
        *unreached_modules(own, inputs),
        *unreached_modules(copy_with_tensors(probe.module, tensors), probe.inputs),
    }
    return tuple(path for path, _ in own.named_modules() if path in missing)


def _all_together(
    probes: Sequence[Probe], verdicts: list[Verdict], blocks: list[Block], tell: Progress
) -> tuple[list[Verdict], list[Block]]:
    """Return what holds together, on inputs of every size."""
    probes[0].going_on = _part_of(tell, "verifying all together", 0.85, 0.15)
    probes[0].going_on(0.0)
    return verify_jointly(probes, verdicts, blocks)


def _judge(
    probes: Sequence[Probe],
    proposal: Proposal,
    unreached: Sequence[str],
    requests: Requests,
    by_hand: Sequence[Verdict],
    tell: Progress,
) -> list[Verdict]:
    """Return the verdicts on all groups: those by hand, heads by name, what was proposed, then layers left over.

    What fails on small inputs is tried on larger ones. A reading that fails is not told where others hold in its place.
    """
    wiring, owned = probes[0].wiring, Owned(verdict.group for verdict in by_hand)
    heads = judged_heads(probes, requests, lambda done: tell("verifying groups", 0.05 + 0.3 * done))
    verdicts = [*by_hand, *(verdict for verdict in heads if not owned.meets(verdict.group))]
    groups = coupled_groups(wiring, proposal.couplings, [verdict.group for verdict in verdicts])
    check_names([verdict.group for verdict in by_hand], [*(v.group for v in verdicts[len(by_hand) :]), *groups])
    done, every = 0, max(1, sum(len(group.members) for group in groups))
    for group in groups:
        start, share = 0.35 + 0.45 * done / every, 0.45 * len(group.members) / every
        done += len(group.members)
        others = set(keys_of([*(v.group for v in verdicts), *groups])) - set(keys_of([group]))
        going_on = _part_of(tell, "verifying groups", start, share)
        verdicts.append(_judged(probes, requests.on_group(group), others, going_on))
    settled = Owned(verdict.group for verdict in verdicts if verdict.group.elastic)
    verdicts = [verdict for verdict in verdicts if verdict.group.elastic or not settled.holds(verdict.group)]
    why = proposal.complaint or "the search for coupled channels does not see it"
    listed = keys_of(verdict.group for verdict in verdicts)
    return verdicts + [Verdict(group) for group in uncoupled_groups(wiring, listed, unreached, f"propose: {why}")]


def _part_of(tell: Progress, what: str, start: float, share: float) -> Callable[[float], None]:
    """Return what tells the progress of one part of the work, which never goes back."""
    last = start

    def told(done: float) -> None:
        """Pass on how far a part is, never going back."""
        nonlocal last
        last = max(last, start + share * done)
        tell(what, last)

    return told


def _judged(probes: Sequence[Probe], group: Group, others: set[Key], going_on: Callable[[float], None]) -> Verdict:
    """Return the verdict on the first reading of a proposal that holds, on the smallest inputs that it holds on."""
    going_on(0.0)
    verdicts = []
    for probe in probes:
        probe.going_on = going_on
        verdicts.append(verify_first(probe, alternatives(probe, group, others)))
        if verdicts[-1].group.elastic or verdicts[-1].group.rigid in (BY_REQUEST, IS_OUTPUT):
            return verdicts[-1]
    return verdicts[-1]


def _doubted(
    verdicts: Sequence[Verdict], blocks: Sequence[Block], doubtful: Sequence[str]
) -> tuple[list[Verdict], list[Block]]:
    """Return everything as rigid where a module is never reached: it may use what would be dropped."""
    if not doubtful:
        return list(verdicts), list(blocks)
    why = f"the example inputs never reach '{doubtful[0]}', which may use it; give other inputs or ignore that module"
    groups = [replace(v, group=rigid(v.group, "reach", why)) if v.group.elastic else v for v in verdicts]
    return groups, [replace(block, rigid=f"reach: {why}") if block.elastic else block for block in blocks]
