"""Latency from a table of layer times: arithmetic, layers found, and the cache."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from concertina.measure import time_cache
from concertina.measure.layer_times import Between, LatencyModel, LayerTimes, measure_layers
from concertina.measure.layers import Layer, layer_samples, layers_of
from concertina.measure.time_cache import cache_folder, latency_model
from concertina.types import Dim, Member, Space

OUTER = (Member("0.weight", 0, "out"), Member("0.bias", 0, "out"), Member("2.weight", 1, "in"))
NET = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
SPACE = Space((Dim("width:0", "width", "0", (2, 4, 8), OUTER),))
INPUTS = (torch.zeros(2, 6),)
GATED = Space(
    (
        Dim("depth:b", "depth", "b", (0, 1), (Member("b.weight", -1, "gate"),)),
        Dim("width:s", "width", "s", tuple(range(1, 13)), (Member("s.weight", 0, "out"),)),
    )
)
MODEL = LatencyModel(
    GATED,
    [
        LayerTimes(Layer("s", ("width:s",), ()), ((1, 7, 12),), (1.0, 7.0, 17.0)),
        LayerTimes(Layer("b", (), ("depth:b",)), (), (5.0,)),
    ],
    Between(0.5, 2.0, 0.25),
)


def test_a_latency_is_the_sum_of_the_layers_that_are_there_and_what_lies_between() -> None:
    full, without = GATED.full, GATED.full.with_choice("depth:b", 0)
    assert MODEL.milliseconds(full) == pytest.approx(0.5 + 2 * (17 + 5) + 0.25)
    assert MODEL.milliseconds(without) == pytest.approx(0.5 + 2 * 17)
    between = [MODEL.layers_ms(without.with_choice("width:s", width)) for width in (1, 4, 7, 8, 12)]
    assert between == pytest.approx([1.0, 4.0, 7.0, 9.0, 17.0])


def test_layers_are_called_in_every_size_with_inputs_as_they_meet_them() -> None:
    layers = layers_of(NET, SPACE)
    assert [(layer.path, layer.dims) for layer in layers] == [("0", ("width:0",)), ("2", ("width:0",))]
    samples = layer_samples(NET, INPUTS, SPACE, layers)
    assert {key: tuple(sample.call().shape) for key, sample in samples.items()} == {
        **{("0", (width,)): (2, width) for width in (2, 4, 8)},
        **{("2", (width,)): (2, 3) for width in (2, 4, 8)},
    }
    assert len({sample.signature for sample in samples.values()}) == 6


def test_a_measured_table_tells_large_subnets_from_small_ones() -> None:
    wide = nn.Sequential(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 256)).eval()
    members = (Member("0.weight", 0, "out"), Member("0.bias", 0, "out"), Member("2.weight", 1, "in"))
    space = Space((Dim("width:0", "width", "0", (8, 512, 2048), members),))
    model = measure_layers(wide, (torch.zeros(8, 256),), space, time_limit_s=2.0)
    times = [model.milliseconds(space.full.with_choice("width:0", width)) for width in (8, 512, 2048)]
    assert all(small < large for small, large in pairwise(times))
    assert [len(times.times_ms) for times in model.layers] == [3, 3]


def table(monkeypatch: pytest.MonkeyPatch, *, gated: bool = True) -> list[int]:
    """Have a made-up table measured, and return a list that grows with each measuring."""
    measured: list[int] = []

    def measure(_module: object, _inputs: object, space: Space, **_settings: object) -> LatencyModel:
        measured.append(1)
        times = LayerTimes(Layer("0", ("width:0",), ()), ((2, 4, 8),), (0.1, 0.2, 0.4))
        return LatencyModel(space, [times], Between(0.1, 1.0, 0.0), error=0.02, gated=gated)

    monkeypatch.setattr(time_cache, "measure_layers", measure)
    return measured


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def test_a_table_is_measured_once_for_a_network_and_a_setting(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    measured = table(monkeypatch)
    first = latency_model(NET, INPUTS, SPACE, network="abc")
    again = latency_model(NET, INPUTS, SPACE, network="abc")
    assert len(measured) == len(list(cache.iterdir())) == 1
    assert [again.milliseconds(spec) for spec in (SPACE.smallest, SPACE.full)] == [
        first.milliseconds(spec) for spec in (SPACE.smallest, SPACE.full)
    ]
    latency_model(NET, INPUTS, SPACE, network="abc", threads=2)
    latency_model(NET, (torch.zeros(4, 6),), SPACE, network="abc")
    latency_model(NET, INPUTS, SPACE, network="xyz")
    assert len(measured) == len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("text", ["", "{}", '{"layers": [{"layer": 3}]}', "[1, 2]", "\x00"])
def test_a_cache_file_that_holds_no_table_is_measured_again(
    text: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    measured = table(monkeypatch)
    latency_model(NET, INPUTS, SPACE, network="abc")
    (path,) = cache.iterdir()
    path.write_text(text)
    latency_model(NET, INPUTS, SPACE, network="abc")
    assert len(measured) == 2
    assert json.loads(path.read_text())["error"] == 0.02


def test_a_table_from_a_busy_machine_is_used_with_a_warning_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table(monkeypatch, gated=False)
    with caplog.at_level(logging.WARNING, "concertina"):
        assert latency_model(NET, INPUTS, SPACE, network="abc").milliseconds(SPACE.full) == pytest.approx(0.5)
    assert "too busy for a sound latency table" in caplog.text
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table(monkeypatch)
    (tmp_path / "concertina").write_text("in the way")
    with caplog.at_level(logging.WARNING, "concertina"):
        assert latency_model(NET, INPUTS, SPACE, network="abc").milliseconds(SPACE.smallest) == pytest.approx(0.2)
    assert "cannot be kept" in caplog.text
