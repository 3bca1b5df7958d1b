"""What an engineer would do without a family: slice the core as it is, or cut it with Torch-Pruning."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from concertina.measure.trace import plain_kernels
from concertina.nest import build
from concertina.types import Core, Graph, Space, SubnetSpec

BISECTIONS = 10


def naive_slice(core: Core, space: Space, spec: SubnetSpec) -> nn.Module:
    """Return the core cut to the widths and blocks of `spec`, channels in the order they came, nothing retrained.

    Args:
        core: The network as loaded.
        space: The family's dims.
        spec: The sizes.
    """
    return build(core.module, space, space.check(spec))


def torch_pruning_cut(core: Core, graph: Graph, budget_macs: int) -> tuple[nn.Module, int] | None:
    """Return the core cut by Torch-Pruning's group magnitude to at most `budget_macs`, untuned, and its MACs.

    One pruning ratio for all layers, found by bisection; groups that verification found rigid are kept whole, since
    Torch-Pruning would cut some of them wrongly. None when it cannot reach the budget.

    Source: Fang et al., DepGraph (arXiv:2301.12900); Torch-Pruning 1.6.
    """
    whole = count_macs(core.module, core.example_inputs)
    if whole <= budget_macs:
        return copy.deepcopy(core.module), whole
    best: tuple[nn.Module, int] | None = None
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        ratio = (low + high) / 2
        cut = _pruned(core, graph, ratio)
        macs = None if cut is None else count_macs(cut, core.example_inputs)
        if cut is None or macs is None or macs > budget_macs:
            low, high = (ratio, high) if cut is not None else (low, ratio)
        else:
            high = ratio
            if best is None or macs > best[1]:
                best = (cut, macs)
    return best


def count_macs(module: nn.Module, example_inputs: Sequence[Tensor]) -> int:
    """Return the MACs of one input by torch's flop counter, halved; without kernels that it does not see into."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_kernels(), counter:
        module(*example_inputs)
    return counter.get_total_flops() // 2 // len(example_inputs[0])


def _pruned(core: Core, graph: Graph, ratio: float) -> nn.Module | None:
    module = copy.deepcopy(core.module)
    kept = {
        member.tensor.rpartition(".")[0]
        for group in graph.groups
        if group.rigid or any(member.of for member in group.members)
        for member in group.members
        if member.role == "out"
    }
    ignored = [layer for name, layer in module.named_modules() if name in kept]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = tp.pruner.BasePruner(
                module,
                core.example_inputs,
                importance=tp.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=ratio,
                max_pruning_ratio=1.0,
                ignored_layers=ignored,
            )
            pruner.step()
        with torch.no_grad():
            module(*core.example_inputs)
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return module.eval()
