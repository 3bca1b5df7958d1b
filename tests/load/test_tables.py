"""Tables of numbers and texts: what is learnt of the training rows is plain data, and fits every other part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import concertina as ct
from concertina.errors import ConcertinaError, DataError, InputError, LoadError
from concertina.load import columns_from

ROWS = "age,town,paid,split\n20,a,yes,train\n40,b,no,train\n60,a,no,train\n30,c,yes,test\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text(ROWS)
    return tmp_path / "table.csv"


def test_numbers_are_standardised_and_texts_have_an_input_each_by_the_training_rows(table: Path) -> None:
    train = ct.open_table(f"{table}@split=train", target="paid")
    assert train.class_names == ("no", "yes")
    assert train.labels.tolist() == [1, 0, 0]
    assert train.inputs[:, 0].mean().abs() < 1e-6
    assert train.inputs[:, 1:].tolist() == [[1, 0], [0, 1], [1, 0]]
    test = ct.open_table(f"{table}@test", train.columns)
    assert test.inputs.tolist() == [[pytest.approx(-10 / 16.3299, abs=1e-4), 0, 0]]
    assert columns_from(train.columns.text) == train.columns
    assert train.columns.places == {"age": slice(0, 1), "town": slice(1, 3)}
    assert train.subset([2]).column("town").tolist() == ["a"]
    assert train.source == "table.csv@split=train"


def test_the_columns_go_along_with_the_core_and_its_family(table: Path, tmp_path: Path) -> None:
    data = ct.open_table(f"{table}@split=train", target="paid")
    data.columns.save(tmp_path / "columns.json")
    core = ct.load(f"zoo:table-mlp@columns={tmp_path / 'columns.json'},hidden=8x8", weights="random")
    assert columns_from(core.arguments["columns"]) == data.columns
    family = ct.fit(core, data, data, points=(0.5,), epochs=0, order="criterion")
    family.save(tmp_path / "table.concertina")
    again = ct.open(tmp_path / "table.concertina")
    assert columns_from(again.core.arguments["columns"]) == data.columns
    assert torch.equal(again.view("p100")(data.inputs), family.view("p100")(data.inputs))


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (ROWS, {"target": "wage"}, "'wage'; allowed: age"),
        (ROWS, {"target": "paid", "leave_out": ["height"]}, "'height'"),
        ("a,label\n1,0\n2,0\n", {}, "two values or more"),
        ("a,label\nnan,0\n2,1\n", {}, "row 0: got nan"),
        ("a,label\n", {}, "no samples"),
        ("a,label\n" + "".join(f"t{i},{i % 2}\n" for i in range(300)), {}, "300 texts; allowed: up to 256"),
        ("label\n0\n1\n", {}, "each once"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, text: str, options: dict, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        ct.open_table(tmp_path / "t.csv", **options)


def test_other_rows_must_have_the_columns_and_the_classes(table: Path, tmp_path: Path) -> None:
    columns = ct.open_table(f"{table}@split=train", target="paid").columns
    for text, says in (("town,paid\na,yes\n", "'age'"), ("age,town,paid\n1,a,maybe\n", "maybe")):
        (tmp_path / "other.csv").write_text(text)
        with pytest.raises(DataError, match=says):
            ct.open_table(tmp_path / "other.csv", columns)


@pytest.mark.parametrize(
    "told",
    [
        "nonsense",
        "[]",
        {"target": "y", "classes": ["0"], "inputs": []},
        {"target": "y", "classes": ["0"], "inputs": [["y", 0, 1]]},
        {"target": "y", "classes": ["0"], "inputs": [["a", 0, 0]]},
        {"target": "y", "classes": ["0"], "inputs": [["a", 0, 1], ["a", 0, 1]]},
        {"target": "y", "classes": [1], "inputs": [["a", 0, 1]]},
        {"target": "y", "classes": ["0"], "inputs": [["a", "0", 1]]},
        {"target": "y", "classes": ["0"], "inputs": [["a", [str(i) for i in range(5000)]]]},
    ],
)
def test_columns_that_are_none_are_refused(told: object, tmp_path: Path) -> None:
    text = told if isinstance(told, str) else json.dumps(told)
    with pytest.raises(InputError, match=r"column|inputs"):
        columns_from(text)
    (tmp_path / "columns.json").write_text(text)
    with pytest.raises(ConcertinaError, match=r"column|inputs"):
        ct.load(f"zoo:table-mlp@columns={tmp_path / 'columns.json'}", weights="random")


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for name in (tmp_path / "none.json", tmp_path):
        with pytest.raises(LoadError, match="'columns'"):
            ct.load(f"zoo:table-mlp@columns={name}", weights="random")
