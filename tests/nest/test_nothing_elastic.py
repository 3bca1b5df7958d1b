"""A network of which nothing is elastic is refused with a way to see why, which works."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import AnalysisError


def test_the_way_to_see_the_reasons_is_one_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    core = ct.load(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.randn(2, 1, 8, 8))
    data = [(torch.randn(8, 1, 8, 8), torch.arange(8))]
    with pytest.raises(AnalysisError, match="All reasons, in Python: ") as refused:
        ct.fit(core, data, epochs=0)
    _, told = str(refused.value).split("All reasons, in Python: ")
    assert told.startswith("from concertina.analyse import analyse; print(")
    print(*((group.name, group.rigid) for group in analyse(core).groups), sep="\n")
    shown = capsys.readouterr().out
    exec(told, {"core": core})
    assert capsys.readouterr().out == shown
    assert "it is the network's output" in shown
