"""What a network costs, how fast it runs, how well it does, and on which machine that was measured.

`latency` and `answers` are not lifted up here: they would hide the modules of the same names.
"""

from concertina.measure.answers import Answers
from concertina.measure.bounds import Bound
from concertina.measure.cost import CostModel
from concertina.measure.latency import LatencyResult, Runner, module_runner
from concertina.measure.machine import machine_fingerprint, versions
from concertina.measure.mode import evaluation_mode
from concertina.measure.promise import Promise
from concertina.measure.quality import Quality, churn, evaluate, paired_difference
from concertina.measure.runs import Run, new_run, read_run, write_run

__all__ = [
    "Answers",
    "Bound",
    "CostModel",
    "LatencyResult",
    "Promise",
    "Quality",
    "Run",
    "Runner",
    "churn",
    "evaluate",
    "evaluation_mode",
    "machine_fingerprint",
    "module_runner",
    "new_run",
    "paired_difference",
    "read_run",
    "versions",
    "write_run",
]
