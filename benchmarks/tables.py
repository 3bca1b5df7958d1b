"""Small cores for tables, trained from nothing, and their families: income (adult) and recidivism (compas).

Run: python benchmarks/tables.py adult        (some minutes)
     python benchmarks/tables.py compas

The columns' statistics come from the training rows. One of five of these is held out: the epoch that is best on it is
kept. Nothing is looked at on `split=test`.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import concertina as ct
from concertina.load import TableData

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs" / "tables"
DATA = HERE.parent.parent / "shared" / "data"
LEFT_OUT = {
    "adult": ("fnlwgt",),
    "compas": (
        *("age_cat", "days_b_screening_arrest", "c_days_from_compas", "c_charge_desc", "decile_score", "score_text"),
        *("v_decile_score", "is_recid", "is_violent_recid", "standard_filter"),
    ),
}
"""Columns that are no inputs: weights of sampling, COMPAS's own outputs, what leaks the label, and texts of one row."""
EPOCHS = {"adult": 12, "compas": 20}
HIDDEN = "64x64x32"
POINTS = (0.5,)


def parts(name: str, seed: int = 0) -> tuple[TableData, TableData]:
    """Return the training rows, and one of five of them held out."""
    data = ct.open_table(DATA / f"{name}.parquet@split=train", leave_out=LEFT_OUT[name])
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order[len(data) // 5 :]), data.subset(order[: len(data) // 5])


def trained(data: TableData, held: TableData, epochs: int, folder: Path) -> Any:
    """Return a core trained on a table; its weights and columns lie in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data.columns.save(folder / "columns.json")
    source = f"zoo:table-mlp@columns={folder / 'columns.json'},hidden={HIDDEN}"
    core = ct.load(source, weights="random", class_names=data.class_names)
    torch.manual_seed(0)
    net, best = copy.deepcopy(core.module).train(), -1.0
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05)
    for _ in range(epochs):
        for chosen in torch.randperm(len(data)).split(128):
            optimizer.zero_grad()
            F.cross_entropy(net(data.inputs[chosen]), data.labels[chosen]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = float((net(held.inputs).argmax(1) == held.labels).float().mean())
        if accuracy > best:
            best = accuracy
            save_file(net.state_dict(), folder / "core.safetensors")
    return ct.load(source, weights=folder / "core.safetensors", class_names=data.class_names)


def family_of(name: str, data: TableData, held: TableData) -> ct.Family:
    """Return the family of a table's core; it is made first where there is none."""
    path = RUNS / name / "family.concertina"
    if not path.exists():
        core = trained(data, held, EPOCHS[name], path.parent)
        ct.fit(core, data, held, points=POINTS, epochs=4).save(path)
    return ct.open(path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(LEFT_OUT))
    asked = parser.parse_args()
    print(family_of(asked.name, *parts(asked.name)).points)
