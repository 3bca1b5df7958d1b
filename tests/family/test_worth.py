"""What growth steps are priced by: MACs, or latency on this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import concertina as ct
from concertina.cli import main
from concertina.errors import InputError
from concertina.family import order
from concertina.types import SubnetSpec

CORE = ct.load("zoo:mlp")
DATA = ct.open_data("zoo:digits@train", preprocess=CORE.preprocess).subset(torch.arange(256))
GIVEN: dict[str, Any] = {"points": (0.5,), "batch_size": 32, "criterion": "magnitude-l2"}


@pytest.fixture
def slow_first_layer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Size, str]]:
    """Have a table measured in which only the first dim takes time; return a list of what was measured."""
    measured: list[tuple[torch.Size, str]] = []

    def model(_module: object, inputs: list[torch.Tensor], space: Any, **given: Any) -> object:
        measured.append((inputs[0].shape, given["network"]))
        slow = space.dims[0].name

        def milliseconds(spec: SubnetSpec) -> float:
            return 0.001 + spec[slow]

        return SimpleNamespace(space=space, layers=(), between=None, error=0.03, milliseconds=milliseconds)

    monkeypatch.setattr(order, "latency_model", model)
    monkeypatch.setattr(
        order, "latency_price", lambda model, costs: lambda spec: 1e6 * model.milliseconds(spec) + costs.macs(spec)
    )
    return measured


@pytest.mark.parametrize(("name", "epochs"), [("criterion", 1.0), ("rehearsed", 30.0)])
def test_what_takes_time_comes_late(name: str, epochs: float, slow_first_layer: list[tuple[torch.Size, str]]) -> None:
    plain, priced = (
        ct.prepare(CORE, DATA, order=name, worth=worth, epochs=epochs, **GIVEN) for worth in ("macs", "latency")
    )
    places = [
        [place for place, step in enumerate(ready.supernet.order.steps) if step == 0] for ready in (plain, priced)
    ]
    assert sum(places[1]) > sum(places[0])
    assert slow_first_layer == [((1, *CORE.example_inputs[0].shape[1:]), CORE.fingerprint)]
    assert "worth" not in plain.facts
    assert priced.facts["worth"] == "latency of one input on one thread, known to 3%"


def test_another_worth_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="option worth: got 'speed'; allowed: macs, latency"):
        ct.fit(CORE, DATA, worth="speed")
    words = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "--worth", "speed", "-o", str(tmp_path / "a.concertina")]
    assert main(words) == 2
    assert "error: --worth: got 'speed'; allowed: macs, latency" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
