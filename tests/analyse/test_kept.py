"""Analyses that are kept: the same as fresh ones, and never those of another network."""

from __future__ import annotations

import json
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.analyse.networks import IMAGES, SqueezeExcite, core_of
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse, analysis
from concertina.load.zoo import ZOO
from concertina.types import Core, Graph

SMALL = ("mlp", "digits-cnn", "tiny-vit")


@pytest.fixture
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of kept graphs, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CONCERTINA_ANALYSIS_CACHE")
    return tmp_path / "concertina" / "analysis"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[Core]:
    """Return a list that every network is put into that is analysed afresh."""
    found: list[Core] = []
    run = analysis._analysed

    def noted(core: Core, *rest: Any) -> tuple[Graph, bool]:
        found.append(core)
        return run(core, *rest)

    monkeypatch.setattr(analysis, "_analysed", noted)
    return found


def net(text: str, name: str = "Net") -> Core:
    """Return a small network whose class is made of a text."""
    space: dict[str, Any] = {"nn": nn, "torch": torch, "__name__": __name__}
    linecache.checkcache()
    exec(text, space)
    torch.manual_seed(0)
    return ct.load(space[name](), torch.ones(2, 4) + torch.arange(4))


TEXT = """
FACTOR = 2
def helper(x):
    return x.relu()
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.slope = nn.Linear(4, 6), nn.Linear(6, 3), 0.5
    def forward(self, x):
        return self.fc2(helper(self.fc1(x))) * FACTOR
"""


def test_a_network_is_analysed_once(kept_in: Path, fresh: list[Core]) -> None:
    graphs = [analyse(core_of_squeeze()) for _ in range(3)]
    assert graphs[0] == graphs[1] == graphs[2]
    assert len(fresh) == len(list(kept_in.iterdir())) == 1


def core_of_squeeze() -> Core:
    torch.manual_seed(0)
    return core_of(SqueezeExcite(), *IMAGES)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_kept_is_what_was_found(name: str, kept_in: Path, fresh: list[Core]) -> None:
    check_kept(f"zoo:{name}", fresh)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in ZOO.names() if name not in (*SMALL, "sentence-encoder", "table-mlp")]
)
def test_what_is_kept_of_every_network_of_the_zoo_is_what_was_found(
    name: str, kept_in: Path, fresh: list[Core]
) -> None:
    check_kept(f"zoo:{name}", fresh)


def test_what_is_kept_of_layers_written_as_two_is_what_was_found(kept_in: Path, fresh: list[Core]) -> None:
    core = ct.factorize(ct.load("zoo:mlp"))
    first, again = analyse(core), analyse(core)
    assert len(fresh) == 1
    assert first == again
    assert again.factored == tuple(core.rewritten)
    assert analyse(ct.load("zoo:mlp")) != first


def check_kept(source: str, fresh: list[Core]) -> None:
    core = ct.load(source, weights="random")
    first, again = analyse(core), analyse(ct.load(source, weights="random"))
    assert len(fresh) == 1
    assert first == again
    assert repr(first) == repr(again)
    assert [type(group.members) for group in again.groups] == [tuple] * len(again.groups)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.fc2(helper", "self.fc2(1 + helper"),
        ("x.relu()", "x.tanh()"),
        ("FACTOR = 2", "FACTOR = 3"),
        ("0.5", "0.25"),
    ],
    ids=["forward", "function it calls", "number it uses", "number it holds"],
)
def test_other_code_is_another_network(old: str, new: str, kept_in: Path, fresh: list[Core]) -> None:
    analyse(net(TEXT))
    analyse(net(TEXT))
    assert len(fresh) == 1
    analyse(net(TEXT.replace(old, new)))
    assert len(fresh) == 2


def test_other_weights_inputs_ties_and_requests_are_asked_for_afresh(kept_in: Path, fresh: list[Core]) -> None:
    class Two(nn.Module):
        def __init__(self, tied: bool, kept: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc1, self.fc2, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
            self.fc2.load_state_dict(self.fc1.state_dict())
            if tied:
                self.fc2.weight = self.fc1.weight
            self.kept = [kept]

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.fc2(self.fc1(x).relu()).relu())

    inputs = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    cores = [ct.load(Two(False, 1), inputs), ct.load(Two(True, 1), inputs), ct.load(Two(False, 2), inputs)]
    cores += [ct.load(Two(False, 1), inputs + 1), ct.load(Two(False, 1), inputs)]
    with torch.no_grad():
        cores[-1].module.head.bias.add_(1.0)
    for core in cores:
        analyse(core)
    analyse(cores[0], ignore=("fc1",))
    analyse(cores[0], seed=1)
    assert len(fresh) == len(cores) + 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"units": ', '"units": 1'),
        lambda text: json.dumps({**json.loads(text), "identity": "another"}),
        lambda text: json.dumps({**json.loads(text), "format": 0}),
    ],
)
def test_damaged_and_foreign_files_are_written_anew(
    damage: Callable[[str], str], kept_in: Path, fresh: list[Core]
) -> None:
    expected = analyse(net(TEXT))
    (path,) = kept_in.iterdir()
    whole = path.read_text()
    path.write_text(damage(whole))
    assert analyse(net(TEXT)) == expected
    assert len(fresh) == 2
    assert path.read_text() == whole


def test_nothing_is_kept_where_that_is_not_wanted(
    kept_in: Path, fresh: list[Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = ct.group("mine", makes=["fc1.weight", "fc1.bias"], reads=["fc2.weight:1"])
    analyse(net(TEXT), cache=False)
    analyse(net(TEXT), groups=[by_hand])
    monkeypatch.setenv("CONCERTINA_ANALYSIS_CACHE", "off")
    analyse(net(TEXT))
    assert len(fresh) == 3
    assert not kept_in.exists()


def test_a_folder_that_cannot_be_written_stops_nothing(kept_in: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept_in.parent.parent.joinpath("concertina").write_text("a file")
    assert analyse(net(TEXT)).elastic_groups
    assert "cannot be kept" in caplog.text
