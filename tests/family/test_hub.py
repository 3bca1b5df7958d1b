"""Families of networks of transformers: trained, saved, and built again from the data in their file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tests.load.hub_folders import image_classifier, text_classifier
from torch.utils.data import TensorDataset

import concertina as ct
from concertina.errors import ExtraError

hf = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a family of an image classifier."""
    folder = tmp_path_factory.mktemp("hub")
    core = ct.load(f"hf:{image_classifier(hf, folder / 'shapes')}")
    data = TensorDataset(torch.randn(48, 3, 16, 16), torch.arange(48) % 3)
    ct.fit(core, data, data, points=(0.3, 1.0), epochs=1, batch_size=16).save(folder / "f.concertina")
    return folder / "f.concertina"


def test_a_family_is_built_again_from_its_file_alone(file: Path, tmp_path: Path) -> None:
    family = ct.open(file)
    assert (family.core.source, family.core.licence) == ("hf:shapes", "apache-2.0")
    assert family.core.class_names == ("circle", "square", "star")
    assert family.at(0.3)(torch.randn(2, 3, 16, 16)).shape == (2, 3)
    assert family.choose(0.3).share <= 0.3
    extracted = family.extract(tmp_path / "small", 0.3)
    assert extracted.program_refused == ""


def test_a_text_classifier_learns_and_comes_back(tmp_path: Path) -> None:
    core = ct.load(f"hf:{text_classifier(hf, tmp_path / 'net', 'Roberta', pad_token_id=1)}")
    ids = torch.randint(3, 60, (64, 6), generator=torch.Generator().manual_seed(0))
    labels = (ids[:, 0] > 30).long()
    family = ct.fit(core, TensorDataset(ids, labels), points=(0.5, 1.0), epochs=1, batch_size=16)
    family.save(tmp_path / "t.concertina")
    assert torch.equal(ct.open(tmp_path / "t.concertina").at(0.5)(ids), family.at(0.5)(ids))


def test_a_missing_package_is_named_when_a_file_is_opened(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ExtraError, match=r"'hf:' need a package.*concertina-nn\[hf\]"):
        ct.open(file)
