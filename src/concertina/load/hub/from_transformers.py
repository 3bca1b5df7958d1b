"""`hf:` networks of transformers, from a folder made by `save_pretrained` or the hub's of that name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import LoadError, some
from concertina.load.hub.base import BY_HAND, LIBRARIES, MAX_VALUES, Found, Library, built, told
from concertina.load.hub.config import as_data, check_data
from concertina.load.hub.facts import (
    check_rule_fits,
    class_name_of,
    class_names_of,
    example_inputs,
    pooling_of,
    read_config,
)
from concertina.load.hub.folder import fetched, licence_of, preprocess_of, read_json, read_tensors
from concertina.load.hub.heads import ENCODERS, IMAGES, Known, find
from concertina.load.hub.wrap import POOLINGS, ImageNetwork, TextNetwork
from concertina.types import Preprocess

KEYS = {"class", "config", "pooling"}


@LIBRARIES.register("hf", source="Wolf et al. 2020, Transformers (arXiv 1910.03771)", year=2020)
class Transformers(Library):
    """Networks of transformers: classifiers of images, texts and tokens, sentence encoders, language models."""

    scheme, extra, package = "hf", "hf", "transformers"

    def load(self, name: str, *, random: bool) -> Found:
        """Return a network by name; see `Library.load`."""
        folder = fetched(name)
        raw = read_config(folder)
        class_name = class_name_of(raw, folder)
        self.imported()
        known = find(class_name, _tables(), has_code="auto_map" in raw)
        check_rule_fits(raw, class_name, known, folder)
        class_names = class_names_of(raw) if known.head.named else ()
        arguments = {
            "class": class_name,
            "config": self._completed(class_name, known, raw),
            "pooling": pooling_of(folder) if known.head is ENCODERS else "",
        }
        module = self._built(arguments, MAX_VALUES)
        if not random:
            module.network = self._with_weights(module.network, read_tensors(folder), name)
        size = read_json(folder / "preprocessor_config.json")
        return Found(
            module,
            arguments,
            example_inputs(known, module.network.config, size),
            task=known.head.task,
            class_names=class_names,
            preprocess=preprocess_of(size) if size and known.head is IMAGES else Preprocess(),
            licence=licence_of(folder),
        )

    def build(self, arguments: Mapping[str, Any], most: int = MAX_VALUES) -> nn.Module:
        """Return an architecture from data; see `Library.build`."""
        return self._built(arguments, most)

    def _built(self, arguments: Mapping[str, Any], most: int) -> Any:
        self.imported()
        if set(arguments) != KEYS or arguments["pooling"] not in ("", *POOLINGS):
            raise LoadError(
                "arguments of an 'hf:' network", asked=str(sorted(map(str, arguments)))[:200], allowed=str(sorted(KEYS))
            )
        name, data = arguments["class"], check_data(arguments["config"])
        known = find(name, _tables())
        kind = _class(name)
        _check_type(data, kind, name)
        with _quiet():
            return built(lambda: _wrapped(kind, data, known, arguments["pooling"]), f"'hf:' network {name}", most)

    def _completed(self, name: str, known: Known, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration as data, with the library's defaults written out: they may change."""
        kind = _class(name)
        data = as_data(raw)
        _check_type(data, kind, name)
        if known.head.named:
            data["num_labels"] = len(raw.get("id2label") or {}) or data.get("num_labels") or 2
        with _quiet():
            whole = _refusing(lambda: kind.config_class(**data).to_dict(), f"configuration of {name}")
        completed = as_data({**data, **whole})
        if known.head.named:
            completed["num_labels"] = data["num_labels"]
        return completed

    def _with_weights(self, network: Any, tensors: dict[str, Tensor], name: str) -> nn.Module:
        """Return a network of the same class and configuration with the weights of a checkpoint."""
        kind: Any = type(network)
        options = _options(kind)
        with _quiet():
            loaded, report = _refusing(
                lambda: kind.from_pretrained(
                    None,
                    config=network.config,
                    state_dict=tensors,
                    dtype=torch.float32,
                    trust_remote_code=False,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    **options,
                ),
                f"weights of {name!r}",
            )
        lost = [
            *report["missing_keys"],
            *(key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]),
        ]
        if lost:
            raise LoadError(
                f"weights of {name!r} do not belong to {kind.__name__}",
                asked=f"missing or of another shape: {some(sorted(map(repr, lost)), 4)}",
                do="They would be random: train that part first and save it.",
            )
        return loaded.eval()


def _tables() -> Any:
    return importlib.import_module("transformers.models.auto.modeling_auto")


def _class(name: str) -> Any:
    """Return a class that `find` knows."""
    found = getattr(importlib.import_module("transformers"), name, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise LoadError(f"this release of transformers has no class {name!r}", do="Install the one it was made with.")
    return found


def _check_type(data: Mapping[str, Any], kind: Any, name: str) -> None:
    wanted = kind.config_class.model_type
    if data.get("model_type") != wanted:
        raise LoadError(f"model_type of {name}", asked=repr(data.get("model_type"))[:100], allowed=repr(wanted))
    if getattr(kind.config_class, "extra_files", ()):
        raise LoadError(f"{name} keeps weights in files of its own", do=BY_HAND)


def _wrapped(kind: Any, data: Mapping[str, Any], known: Known, pooling: str) -> nn.Module:
    config = kind.config_class(**data)
    network = kind(config, **_options(kind))
    if known.head is IMAGES:
        return ImageNetwork(network, known.head.output)
    padding = getattr(config, "pad_token_id", None)
    needs = known.head.reads == "masked ids"
    if needs and not isinstance(padding, int):
        raise LoadError(
            f"pad_token_id of {kind.__name__}", asked=repr(padding), allowed="a token id", do="Set it in config.json."
        )
    return TextNetwork(network, known.head.output, padding if needs else None, pooling or None)  # type: ignore[arg-type]


def _options(kind: Any) -> dict[str, bool]:
    """Return what leaves out a pooler that nothing asks for: checkpoints often lack its weights."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def _refusing(work: Callable[[], Any], what: str) -> Any:
    """Return what `work` gives; whatever it raises is told as the cause."""
    try:
        return work()
    except Exception as error:
        raise LoadError(f"{what} cannot be used", asked=told(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's bars and remarks off stderr: what matters is raised."""
    log = importlib.import_module("transformers.utils.logging")
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
