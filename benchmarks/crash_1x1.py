"""Shows the fault of torch that `train/layout.py` keeps clear of: run each case in a process of its own.

Run: python benchmarks/crash_1x1.py     (a minute; cases that end with another status than 0 crashed)
"""

from __future__ import annotations

import subprocess
import sys

import torch

CASES = ((4, 32, 2), (5, 32, 2), (6, 16, 2), (7, 32, 2), (6, 32, 1), (9, 32, 2))
"""Input channels, output channels, stride."""


def backward(inputs: int, outputs: int, stride: int) -> None:
    for _ in range(60):
        x = torch.randn(16, inputs, 8, 8).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 1, 1, requires_grad=True)
        torch.nn.functional.conv2d(x, weight, None, stride).square().sum().backward()
        _ = [torch.randn(count) for count in range(1, 400, 7)]  # allocations stumble over what was overwritten


def main() -> None:
    if len(sys.argv) > 1:
        backward(*CASES[int(sys.argv[1])])
        return
    for case, (inputs, outputs, stride) in enumerate(CASES):
        done = subprocess.run([sys.executable, __file__, str(case)], capture_output=True, timeout=100, check=False)
        print(f"{inputs} to {outputs} channels, stride {stride}: status {done.returncode}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
