"""How long the analysis of networks of real size takes, afresh and from the cache.

Run: pip install transformers; python benchmarks/analysis.py                     (all, an hour or less on one core)
     python benchmarks/analysis.py BERT-base ResNet-50 --threads 2               (some of them)

Networks have their usual sizes and random weights. Each is analysed twice in a cache folder of its own: afresh, and
again with what the first analysis kept. Writes a run file into benchmarks/results/: seconds on the clock and of the
processor, which tell apart on a machine that is busy with other things.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import networks_hf
import torch
import transformers as hf
from cifar import HERE
from torch import Tensor

import concertina as ct
from concertina.analyse import analyse
from concertina.measure.runs import new_run, write_run
from concertina.types import Core, Graph, Record

TOKENS, PIXELS = 16, 224


def ids(words: int) -> tuple[Tensor, ...]:
    return (torch.randint(3, words - 1, (2, TOKENS), generator=torch.Generator().manual_seed(1)),)


def classifier(kind: str, **config: Any) -> networks_hf.Built:
    return networks_hf.classifier(kind, image_size=PIXELS, **config)


def resnet50() -> networks_hf.Built:
    made = hf.ResNetForImageClassification(hf.ResNetConfig(num_labels=1000))
    return made, networks_hf.images(PIXELS), "logits"


def bert(layers: int) -> networks_hf.Built:
    config = hf.BertConfig(num_hidden_layers=layers)
    return hf.BertForSequenceClassification(config), ids(config.vocab_size), "logits"


def gpt2() -> networks_hf.Built:
    config = hf.GPT2Config(use_cache=False)
    return hf.GPT2LMHeadModel(config), ids(config.vocab_size), "logits"


NETWORKS: dict[str, Callable[[], networks_hf.Built]] = {
    "ResNet-50": resnet50,
    "BERT-base": lambda: bert(12),
    "BERT-base, 2 layers": lambda: bert(2),
    "MobileNetV2": lambda: classifier("MobileNetV2"),
    "EfficientNet-B0": lambda: classifier(
        "EfficientNet", width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280
    ),
    "GPT-2 small": gpt2,
    "ViT-base": lambda: classifier("ViT"),
}
"""Name -> a function that builds the network; default sizes unless the name says so."""


def core_of(name: str) -> Core:
    torch.manual_seed(0)
    network, inputs, output = NETWORKS[name]()
    return ct.load(networks_hf.Output(network.eval(), output), inputs)


def timed(core: Core, show: bool) -> tuple[Graph, float, float, float]:
    """Return the graph, seconds on the clock, seconds of the processor, and the longest silence in seconds."""
    clock, processor, told, silence = time.monotonic(), time.process_time(), time.monotonic(), 0.0

    def tell(what: str, done: float) -> None:
        nonlocal told, silence
        silence, told = max(silence, time.monotonic() - told), time.monotonic()
        if show:
            print(f"\r{what} {done:.0%}   ", end="", flush=True)

    graph = analyse(core, progress=tell)
    return graph, time.monotonic() - clock, time.process_time() - processor, silence


def measured(name: str, show: bool) -> list[Record]:
    """Return the figures of one network."""
    core = core_of(name)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        graph, seconds, processor, silence = timed(core, show)
        again, seconds_kept, _, _ = timed(core, show)
    assert again == graph, name
    figures = (
        ("parameters", sum(p.numel() for p in core.module.parameters()), "parameters"),
        ("elastic_groups", len(graph.elastic_groups), "groups"),
        ("groups", len(graph.groups), "groups"),
        ("elastic_blocks", len(graph.elastic_blocks), "blocks"),
        ("blocks", len(graph.blocks), "blocks"),
        ("analysis_s", seconds, "s"),
        ("analysis_processor_s", processor, "s"),
        ("analysis_kept_s", seconds_kept, "s"),
        ("longest_silence_s", silence, "s"),
    )
    print(f"\r{name}: " + ", ".join(f"{what} {value:.4g}" for what, value, _ in figures), flush=True)
    for part in (*graph.groups, *graph.blocks):
        if part.rigid:
            print(f"    {part}"[:40], part.rigid)
    return [Record("", what, float(value), unit, scope=name) for what, value, unit in figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="Networks; all when left out.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="Show the progress.")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    records = [record for name in asked.names or NETWORKS for record in measured(name, asked.show)]
    settings = {"threads": asked.threads, "load_average": os.getloadavg()[0], "tokens": TOKENS, "pixels": PIXELS}
    print(write_run(HERE / "results", new_run("analysis", records, seed=0, settings=settings)))


if __name__ == "__main__":
    main()
