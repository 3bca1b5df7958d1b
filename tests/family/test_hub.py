"""Families of networks of transformers: trained, saved, and built again from the data in their file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tests.load.hub_folders import image_classifier, text_classifier
from torch.utils.data import TensorDataset

import concertina as ct
from concertina.errors import ExtraError, InputError, LoadError, StorageError

hf = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a family of an image classifier."""
    folder = tmp_path_factory.mktemp("hub")
    core = ct.load(f"hf:{image_classifier(hf, folder / 'shapes')}")
    data = TensorDataset(torch.randn(48, 3, 16, 16), torch.arange(48) % 3)
    ct.fit(core, data, data, points=(0.3, 1.0), epochs=0).save(folder / "f.concertina")
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


def test_a_folder_holds_the_file_and_a_card_and_opens_again(file: Path, tmp_path: Path) -> None:
    family = ct.open(file)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "picture.png").write_bytes(b"mine")
    written = family.save_pretrained(tmp_path / "page", title="Shapes")
    assert [path.name for path in written] == ["family.concertina", "README.md"]
    text = (tmp_path / "page" / "README.md").read_text(encoding="utf-8")
    assert text.startswith('---\nlibrary_name: "concertina"\n')
    assert 'license: "apache-2.0"' in text
    assert "# Shapes" in text
    assert "ct.Family.from_pretrained('page')" in text
    assert str(tmp_path) not in text
    again = ct.Family.from_pretrained(tmp_path / "page", upto=0.3)
    assert [point.name for point in again.points] == [family.points[0].name]
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        "README.md",
        "family.concertina",
        "picture.png",
    ]
    family.save_pretrained(tmp_path / "page")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_a_folder_without_a_family_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no family in .*allowed: what save_pretrained wrote"):
        ct.Family.from_pretrained(tmp_path)
    with pytest.raises(LoadError, match="is not there"):
        ct.Family.from_pretrained(tmp_path / "none")
    with pytest.raises(LoadError, match=r"Did you mean ct\.load\('hf:"):
        ct.Family.from_pretrained(image_classifier(hf, tmp_path))


class Api:
    """Stands in for the hub: keeps what it was given."""

    calls: list[tuple[str, object]] = []

    def __init__(self, token: object = None) -> None:
        self.calls.append(("token", token))

    def create_repo(self, repo_id: str, *, private: object, exist_ok: bool) -> str:
        self.calls.append(("create", (repo_id, private, exist_ok)))
        if repo_id.startswith("nobody/"):
            raise PermissionError("401 not yours\nmore")
        return f"https://hub/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.calls.append(("upload", (repo_id, sorted(path.name for path in folder_path.iterdir()), commit_message)))
        self.calls.append(("card", (folder_path / "README.md").read_text(encoding="utf-8")))


def test_a_family_is_uploaded_as_the_folder_that_it_saves(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    Api.calls = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    family = ct.open(file)
    assert family.push_to_hub("me/shapes", private=True, token="t", commit_message="First") == "https://hub/me/shapes"
    told = dict(Api.calls)
    assert (told["token"], told["create"]) == ("t", ("me/shapes", True, True))
    assert told["upload"] == ("me/shapes", ["README.md", "family.concertina"], "First")
    assert "from_pretrained('me/shapes')" in str(told["card"])
    with pytest.raises(StorageError, match=r"the hub did not take 'nobody/x'.*401 not yours"):
        family.push_to_hub("nobody/x")
    with pytest.raises(InputError, match="got 'privat'"):
        family.push_to_hub("me/shapes", privat=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ExtraError, match=r"concertina-nn\[hf\]"):
        family.push_to_hub("me/shapes")


def test_a_family_on_the_hub_is_fetched_without_anything_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    ct.open(file).save_pretrained(tmp_path)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, allow_patterns: asked.append(allow_patterns) or str(tmp_path)
    )
    assert ct.Family.from_pretrained("me/shapes").core.source == "hf:shapes"
    assert asked == [["family.concertina", "README.md"]]
