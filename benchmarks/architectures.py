"""What is elastic in some sixty architectures: groups, blocks, the smallest subnet, and the reasons for what is not.

Run: pip install transformers; python benchmarks/architectures.py        (some minutes on a CPU)
     python benchmarks/architectures.py "GPT-2" "U-Net"                  (some of them, nothing is written)

Networks are small and have random weights: what is elastic depends on structure alone. Writes a run file into
benchmarks/results/ and the page docs/architectures.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import networks_own
import torch
from cifar import HERE
from torch import nn

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.split_attention import with_split_attention
from concertina.errors import ConcertinaError
from concertina.load.zoo import ZOO
from concertina.measure.cost import CostModel
from concertina.measure.runs import new_run, write_run
from concertina.nest import Supernet, nest
from concertina.objective import Classification
from concertina.score import score
from concertina.types import Core, Graph, Record

PAGE = HERE.parent / "docs" / "architectures.md"
TIME_LIMIT_S = 60.0
INTRO = """# Architectures

What Concertina finds elastic in networks of many kinds, each analysed and verified as it stands: no list of supported
networks is behind this. They are small and have random weights, since what is elastic depends on structure alone.
Made by `python benchmarks/architectures.py`, figures in [{name}](../benchmarks/results/{name}).

"Elastic parameters" is the share of the parameters that follow at least one elastic group or block; "smallest" is the
smallest runnable subnet as a share of the MACs; "error" is the largest relative difference between the outputs of the
sorted network at full size and those of the original; "seconds" are those of the processor for the analysis, on one
thread.

`nn.MultiheadAttention`, as in `nn.TransformerEncoder`, is first put in a form of which heads and widths can go, as
`ct.fit` does by itself.

An analysis runs the network hundreds of times. It goes by the first two example inputs, shortened or made smaller where
the network then still calls the same modules; what fails on those is tried on the inputs as given, and what holds is
verified together on both. Layers whose weights and inputs are what they were in an earlier run are not computed again,
except in that last step; whether a layer's part in a group is felt is read from one backward pass where that tells. The
outcome is kept in the user's cache folder for the same weights, inputs, code and versions (`analyse(..., cache=False)`
or `CONCERTINA_ANALYSIS_CACHE=off` turns that off). BERT-base takes 58 and ResNet-50 55 seconds on two quiet
cores, by `python benchmarks/analysis.py BERT-base ResNet-50 --threads 2`
([figures](../benchmarks/results/analysis_amd-epyc-2-cores-x86-64-linux_20261122T083452Z.json)).
"""


@dataclass(frozen=True)
class Finding:
    """What was found in one network."""

    name: str
    graph: Graph
    parameters: float
    """Share of the parameters that follow an elastic group or block."""
    smallest: float
    """MACs of the smallest subnet as a share of the whole."""
    error: float
    seconds: float

    @property
    def records(self) -> list[Record]:
        """The figures, with the network as their scope."""
        graph = self.graph
        figures = (
            ("groups", len(graph.groups), "groups"),
            ("elastic_groups", len(graph.elastic_groups), "groups"),
            ("blocks", len(graph.blocks), "blocks"),
            ("elastic_blocks", len(graph.elastic_blocks), "blocks"),
            ("elastic_parameters", self.parameters, "share"),
            ("smallest_macs", self.smallest, "share"),
            ("full_point_error", self.error, "relative"),
            ("analysis_processor_s", self.seconds, "s"),
        )
        return [Record("", name, float(value), unit, scope=self.name) for name, value, unit in figures]

    @property
    def row(self) -> str:
        graph = self.graph
        cells = (
            self.name,
            f"{len(graph.elastic_groups)} of {len(graph.groups)}",
            f"{len(graph.elastic_blocks)} of {len(graph.blocks)}",
            f"{self.parameters:.0%}",
            f"{self.smallest:.0%}",
            f"{self.error:.0e}",
            f"{self.seconds:.1f}",
        )
        return f"| {' | '.join(cells)} |"

    @property
    def reasons(self) -> list[str]:
        """Why groups and blocks are not elastic, a line a reason."""
        found: dict[str, list[str]] = {}
        for part in (*self.graph.groups, *self.graph.blocks):
            if part.rigid:
                found.setdefault(part.rigid, []).append(part.name if hasattr(part, "name") else part.path)
        return [
            f"`{names[0]}`{f' and {len(names) - 1} more' if names[1:] else ''}: {why}" for why, names in found.items()
        ]


def networks() -> dict[str, Callable[[], Core]]:
    """Return name -> a function that builds the network as a core."""
    import networks_hf

    def of_hf(build: Callable[[], networks_hf.Built]) -> Core:
        torch.manual_seed(0)
        network, inputs, output = build()
        return ct.load(networks_hf.Output(network.eval(), output), inputs)

    def of_own(build: Callable[[], networks_own.Built]) -> Core:
        torch.manual_seed(0)
        return with_split_attention(ct.load(*build()))

    def of_zoo(name: str) -> Core:
        return ct.load(f"zoo:{name}", weights="random")

    found: dict[str, Callable[[], Core]] = {}
    for name in ZOO.names():
        if name not in ("cifar-resnet56", "sentence-encoder"):
            found[f"zoo:{name}"] = lambda name=name: of_zoo(name)
    found |= {name: (lambda build=build: of_own(build)) for name, build in networks_own.NETWORKS.items()}
    return found | {name: (lambda build=build: of_hf(build)) for name, build in networks_hf.NETWORKS.items()}


def examined(name: str, core: Core) -> Finding:
    """Return what is elastic in a network."""
    started = time.process_time()
    graph = analyse(core, time_limit_s=TIME_LIMIT_S, cache=False)
    seconds = time.process_time() - started
    members = {member.tensor for group in graph.elastic_groups for member in group.members}
    members |= {tensor for block in graph.elastic_blocks for tensor in block.tensors}
    sizes = {key: parameter.numel() for key, parameter in core.module.named_parameters()}
    parameters = sum(size for key, size in sizes.items() if key in members) / max(1, sum(sizes.values()))
    smallest, error = 1.0, 0.0
    if graph.elastic_groups or graph.elastic_blocks:
        supernet = nested(core, graph)
        costs, space = supernet.costs, supernet.space
        smallest = costs.macs(space.smallest) / costs.macs(space.full)
        error = difference(core.module, supernet.subnet(space.full), core)
        outputs = supernet.subnet(space.smallest)(*core.example_inputs)
        assert bool(torch.isfinite(outputs).all()), name
    return Finding(name, graph, parameters, smallest, error, seconds)


def nested(core: Core, graph: Graph) -> Supernet:
    scores = score(core, graph, Classification(), [], criterion="magnitude-l2")
    return nest(core, graph, scores, CostModel.of)


def difference(one: nn.Module, other: nn.Module, core: Core) -> float:
    with torch.no_grad():
        before, after = one(*core.example_inputs), other(*core.example_inputs)
    return float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))


def page(findings: list[Finding], failures: dict[str, str], run_name: str) -> str:
    """Return the page as Markdown."""
    lines = [INTRO.format(name=run_name)]
    lines.append("| network | elastic groups | skippable blocks | elastic parameters | smallest | error | seconds |")
    lines.append("|---|---|---|---|---|---|---|")
    lines += [finding.row for finding in findings]
    lines += ["", "## What is rigid, and why", ""]
    for finding in findings:
        lines += (
            [f"- **{finding.name}**", *(f"    - {reason}" for reason in finding.reasons)] if finding.reasons else []
        )
    if failures:
        lines += ["", "## What failed", "", *(f"- **{name}**: {why}" for name, why in failures.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="Networks; all when left out.")
    asked = parser.parse_args()
    known = networks()
    findings, failures = [], {}
    for name in asked.names or known:
        try:
            findings.append(examined(name, known[name]()))
            print(findings[-1].row, *findings[-1].reasons * bool(asked.names), sep="\n    ", flush=True)
        except (ConcertinaError, RuntimeError, ValueError, TypeError) as error:
            failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            print(f"{name}: {failures[name]}", flush=True)
    if not asked.names:
        records = [record for finding in findings for record in finding.records]
        run = new_run("architectures", records, seed=0, settings={"failures": failures, "time_limit_s": TIME_LIMIT_S})
        print(write_run(HERE / "results", run))
        PAGE.write_text(page(findings, failures, run.file_name), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
