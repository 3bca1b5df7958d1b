"""Networks of transformers from folders: what is read of them, and that they compute what the library computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.load.hub_folders import TEXT, changed, image_classifier, saved, text_classifier

import concertina as ct
from concertina.errors import LoadError

hf = pytest.importorskip("transformers")


def test_an_image_classifier_brings_its_facts_along(tmp_path: Path) -> None:
    folder = image_classifier(hf, tmp_path / "shapes")
    core = ct.load(f"hf:{folder}")
    assert (core.source, core.task, core.licence) == ("hf:shapes", "classification", "apache-2.0")
    assert core.class_names == ("circle", "square", "star")
    assert core.preprocess == ct.Preprocess(1 / 255, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert core.example_inputs[0].shape == (2, 3, 16, 16)
    own = hf.ResNetForImageClassification.from_pretrained(folder)
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(core.module(images), own.eval()(images).logits)
    assert json.loads(json.dumps(core.arguments)) == core.arguments
    assert str(tmp_path) not in json.dumps(core.arguments)


def test_class_names_that_are_there_twice_are_told_apart(tmp_path: Path) -> None:
    folder = image_classifier(hf, tmp_path)
    core = ct.load(f"hf:{changed(folder, id2label={'0': 'crane', '1': 'dog', '2': 'crane'})}")
    assert core.class_names == ("crane (0)", "dog", "crane (2)")


def test_names_of_classes_that_are_but_numbers_are_none(tmp_path: Path) -> None:
    labels = {str(i): f"LABEL_{i}" for i in range(3)}
    assert ct.load(f"hf:{changed(image_classifier(hf, tmp_path), id2label=labels)}").class_names == ()


@pytest.mark.parametrize(("kind", "padding"), [("Bert", 0), ("Roberta", 1)])
def test_zeros_at_the_end_of_a_text_are_padding_whatever_the_network_s_own(
    kind: str, padding: int, tmp_path: Path
) -> None:
    folder = text_classifier(hf, tmp_path, kind, pad_token_id=padding)
    core = ct.load(f"hf:{folder}")
    assert core.class_names == ("bad", "good")
    ids = torch.tensor([[5, 6, 7, 0, 0], [5, 6, 7, 8, 9]])
    own = getattr(hf, f"{kind}ForSequenceClassification").from_pretrained(folder).eval()
    wanted = own(input_ids=ids.masked_fill(ids == 0, padding), attention_mask=(ids != 0).long()).logits
    assert torch.allclose(core.module(ids), wanted, atol=1e-6)
    assert torch.allclose(core.module(ids[:1, :3]), wanted[:1], atol=1e-6)
    assert bool(torch.isfinite(core.module(torch.zeros(2, 4, dtype=torch.int64))).all())


@pytest.mark.parametrize("way", ["mean", "cls"])
def test_a_sentence_encoder_pools_as_its_folder_says(way: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = saved(hf.BertModel(hf.BertConfig(**TEXT)), tmp_path)
    if way == "cls":
        (folder / "1_Pooling").mkdir()
        told = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(told))
    core = ct.load(f"hf:{folder}")
    assert core.task == "similarity"
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    states = hf.BertModel.from_pretrained(folder).eval()(ids).last_hidden_state
    wanted = states[:, 0] if way == "cls" else states.mean(dim=1)
    assert torch.allclose(core.module(ids), wanted, atol=1e-6)


def test_a_sentence_encoder_with_further_steps_is_refused(tmp_path: Path) -> None:
    folder = saved(hf.BertModel(hf.BertConfig(**TEXT)), tmp_path)
    steps = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
    (folder / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(LoadError, match=r"steps of the sentence encoder.*got Dense"):
        ct.load(f"hf:{folder}")


@pytest.mark.parametrize(("kind", "task"), [("BertForMaskedLM", "masked-language"), ("GPT2LMHeadModel", "language")])
def test_language_models_give_logits_of_every_token(kind: str, task: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = getattr(hf, kind)
    core = ct.load(f"hf:{saved(own(own.config_class(**TEXT, bos_token_id=1, eos_token_id=1)), tmp_path)}")
    assert core.task == task
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    assert torch.allclose(core.module(ids), own.from_pretrained(tmp_path).eval()(ids).logits, atol=1e-6)


def test_weights_can_be_random_or_of_a_file(tmp_path: Path) -> None:
    folder = image_classifier(hf, tmp_path)
    whole = ct.load(f"hf:{folder}")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(LoadError, match="no weights in"):
        ct.load(f"hf:{folder}")
    random = ct.load(f"hf:{folder}", weights="random")
    assert (random.licence, random.fingerprint == whole.fingerprint) == ("", False)
    assert ct.load(f"hf:{folder}", weights=tmp_path / "elsewhere.safetensors").fingerprint == whole.fingerprint


def test_weights_in_several_files_are_put_together(tmp_path: Path) -> None:
    image_classifier(hf, tmp_path / "one")
    network = hf.ResNetForImageClassification.from_pretrained(tmp_path / "one")
    network.save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 1
    one, many = (ct.load(f"hf:{tmp_path / name}") for name in ("one", "many"))
    assert one.fingerprint == many.fingerprint


def test_nothing_is_said_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = image_classifier(hf, tmp_path)
    capfd.readouterr()
    ct.load(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")


def test_a_name_on_the_hub_goes_through_the_library_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    folder, asked = image_classifier(hf, tmp_path / "snapshot"), []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert ct.load("hf:somebody/shapes").source == "hf:somebody/shapes"
    ((name, patterns),) = asked
    assert name == "somebody/shapes"
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".py", "*")) for pattern in patterns)


def test_a_hub_that_cannot_be_reached_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("no route to host\nmore of it")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(LoadError, match=r"no folder 'somebody/shapes' is here.*no route to host"):
        ct.load("hf:somebody/shapes")
