"""Time to the first answer of a family that comes over a slow link, and how good that answer is.

The file lies behind a server on loopback whose link is throttled, so that times do not depend on how busy the machine
is. Accuracy is read from Records that were measured before; nothing is measured on data here.

Run: python benchmarks/progressive.py                                (half a minute at 128 KiB/s)
     python benchmarks/progressive.py --bytes-per-s 1000000 --figures FILE   (accuracy from another run file)
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

import concertina as ct
from concertina.measure.runs import new_run, read_run, write_run
from concertina.save import HttpSource, open_artifact
from concertina.types import Record

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tests.save.range_server import Content, serving  # noqa: E402

ARTIFACT = HERE / "artifacts" / "resnet56.concertina"
MEASURED = HERE / "results" / "resnet56-family_amd-epyc-2-cores-x86-64-linux_20261121T220654Z.json"


def arrivals(data: bytes, rate: float) -> tuple[list[Record], list[str]]:
    """Return seconds and bytes until each point has answered once, and the points' specs."""
    ends = open_artifact(ARTIFACT).ends
    names, found, specs = sorted(ends, key=lambda name: ends[name]), [], []
    with serving(Content(data, bytes_per_s=rate)) as address, torch.inference_mode():
        start = time.perf_counter()
        source = HttpSource(address)
        family = ct.open(source, upto=names[0])
        for name in names:
            family.grow(name)
            family.view(name)(*family.core.example_inputs)
            seconds, spec = time.perf_counter() - start, family.choose(point=name).spec.text
            specs.append(spec)
            found.append(Record(spec, "first_answer", seconds, "s", scope=name))
            found.append(Record(spec, "bytes_received", source.bytes_received, "bytes", scope=name))
            found.append(Record(spec, "bytes_share", source.bytes_received / len(data), "share", scope=name))
        family.grow()
        whole = time.perf_counter() - start
        found.append(Record(specs[-1], "whole_file", whole, "s", scope="whole file"))
    return found, specs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes-per-s", type=float, default=131072.0)
    parser.add_argument("--figures", type=Path, default=MEASURED)
    asked = parser.parse_args()
    records, specs = arrivals(ARTIFACT.read_bytes(), asked.bytes_per_s)
    known = [r for r in read_run(asked.figures).records if r.metric == "accuracy" and r.spec in {*specs, "core"}]
    for record in (*records, *known):
        print(f"{record.scope or record.spec[:20]:<22}{record.metric:<16}{record.value:.4f}")
    settings = {"bytes_per_s": asked.bytes_per_s, "artifact": ARTIFACT.name, "figures": asked.figures.name}
    print(write_run(HERE / "results", new_run("progressive-resnet56", [*records, *known], settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
