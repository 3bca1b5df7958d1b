"""A report names its data as people know it, beside the fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.report.samples import family

import concertina as ct
from concertina.report import card, page
from concertina.types import data_key


def test_the_data_is_named_where_it_is_known_and_else_counted() -> None:
    named = family(provenance={data_key("d1"): "cells.npz@part=test, 500 samples"})
    assert "everything else was measured on <bdi>cells.npz@part=test, 500 samples</bdi>." in page(named)
    assert "cells.npz@part=test, 500 samples (d1)" in page(named)
    assert "Accuracy on cells.npz@part=test, 500 samples, with 95% intervals." in card(named)
    assert "(n = 500)" in page(family())
    assert "on 500 samples" in card(family())


def test_data_knows_what_it_was_opened_from_and_tells_no_folder() -> None:
    core = ct.load("zoo:mlp")
    data = ct.open_data("zoo:digits@test", preprocess=core.preprocess)
    assert data.label == "zoo:digits@test, 360 samples"
    assert data.subset(torch.arange(9)).subset(torch.arange(5)).label == "a part of zoo:digits@test, 5 samples"
    assert type(data)(data.tensors).label == "360 samples"


@pytest.mark.parametrize(
    ("name", "selection"), [("d.npz", ""), ("d.npz", "@part=test"), ("a@b/d.npz", ""), ("a@b/d.npz", "@part=test")]
)
def test_a_path_is_cut_to_the_file(name: str, selection: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    np.savez(path, images=np.zeros((20, 8, 8, 1)), labels=np.arange(20) % 10, part=np.repeat("test", 20))
    data = ct.open_data(f"{path}{selection}", preprocess=ct.load("zoo:mlp").preprocess)
    assert data.source == f"d.npz{selection}"


def test_a_family_keeps_the_names_of_its_data() -> None:
    core = ct.load("zoo:mlp")
    train, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "test"))
    family = ct.fit(core, train, held, points=(0.3,), epochs=0, criterion="magnitude-l2")
    kept = family.evidence.provenance
    assert kept["training data"] == f"zoo:digits@train, 1,078 samples; fingerprint {train.fingerprint}"
    assert kept[data_key(held.fingerprint)] == "zoo:digits@test, 360 samples"
    other = ct.open_data("zoo:digits@validation", preprocess=core.preprocess)
    family.measure(other)
    assert family.evidence.provenance[data_key(other.fingerprint)] == "zoo:digits@validation, 359 samples"
