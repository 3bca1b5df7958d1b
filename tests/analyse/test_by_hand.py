"""Groups declared by hand: verified like others, and wrong words are answered."""

from __future__ import annotations

import pytest
import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import Declared, analyse
from concertina.errors import AnalysisError


class Kernel(nn.Module):
    """A product that nobody follows, joined with another's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.width = nn.Parameter(torch.randn(6, 6, 8)), 8
        self.other, self.head = nn.Linear(6, 4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = torch.einsum("bi,bj,ijo->bo", x, x, self.kernel).reshape(len(x), self.width)
        return self.head(torch.cat((self.other(x), made.tanh()), 1))


CORE = core_of(Kernel(), 4, 6)
RIGHT = {"makes": ["kernel:2"], "reads": ["head.weight:1@4"], "sizes": ["width", "head.in_features"]}


def declared(**changed: object) -> Declared:
    return ct.group("mix", **(RIGHT | changed))  # type: ignore[arg-type]


def test_a_right_line_makes_channels_elastic_beside_those_that_are_found() -> None:
    graph = analyse(CORE, groups=[declared()])
    (mix,) = (group for group in graph.elastic_groups if group.name == "mix")
    assert mix.units == 8
    assert [group.name for group in graph.elastic_groups] == ["mix", "other"]  # which owns the other run of the head
    assert [(m.tensor, m.dim, m.role, m.start, m.of) for m in mix.members] == [
        ("kernel", 2, "out", 0, 0),
        ("head.weight", 1, "in", 4, 12),
    ]


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({"reads": ["head.weight:1@2"]}, "permute"),
        ({"sizes": ["head.in_features"]}, "slice"),
        ({"scales": ["other.weight:1"], "units": 2}, "permute"),
    ],
)
def test_a_wrong_line_is_found_out(changed: dict[str, object], step: str) -> None:
    graph = analyse(CORE, groups=[declared(**changed)])
    assert graph.groups[[group.name for group in graph.groups].index("mix")].rigid.startswith(step)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"makes": ["kernal:2"]}, "Did you mean 'kernel'"),
        ({"makes": ["kernel:3"]}, "0 to 2"),
        ({"makes": ["kernel: 2"]}, "TENSOR:SIDE@START"),
        ({"units": 5}, "a multiple of 5 units"),
        ({"units": 1}, "2 or more"),
        ({"sizes": ["widht"]}, "MODULE.ATTRIBUTE"),
        ({"reads": ["head.weight:1@40"]}, "a multiple of 8 units"),
    ],
)
def test_words_that_fit_nothing_are_answered(changed: dict[str, object], words: str) -> None:
    with pytest.raises(AnalysisError, match=words.replace("[", r"\[")):
        analyse(CORE, groups=[declared(**changed)])


@pytest.mark.parametrize("name", ["head", "other"])
def test_a_name_stands_for_one_group(name: str) -> None:
    with pytest.raises(AnalysisError, match="a name of its own"):
        analyse(CORE, groups=[ct.group(name, **RIGHT)])


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"makes": "kernel:2"}, "a list of texts"), ({"units": 2.5}, "a whole number"), ({"name": 3}, "a printable text")],
)
def test_values_of_the_wrong_kind_are_answered(changed: dict[str, object], words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        ct.group(**({"name": "mix"} | RIGHT | changed))
