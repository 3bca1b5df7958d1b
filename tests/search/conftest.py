"""Families of the digits network, trained just enough to be searched."""

from __future__ import annotations

from pathlib import Path

import pytest

import concertina as ct


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a family of the digits network with two points."""
    core = ct.load("zoo:digits-cnn")
    data = ct.open_data("zoo:digits@train", preprocess=core.preprocess)
    path = tmp_path_factory.mktemp("search") / "digits.concertina"
    ct.fit(core, data, points=(0.25, 1.0), epochs=1, learning_rate=0.05, batch_size=64).save(path)
    return path


@pytest.fixture
def digits(digits_file: Path) -> ct.Family:
    """Return that family, opened anew."""
    return ct.open(digits_file)


@pytest.fixture(scope="session")
def held_out() -> object:
    return ct.open_data("zoo:digits@validation", preprocess=ct.load("zoo:digits-cnn").preprocess)


@pytest.fixture(scope="session")
def training() -> object:
    return ct.open_data("zoo:digits@train", preprocess=ct.load("zoo:digits-cnn").preprocess)
