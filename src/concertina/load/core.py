"""The core: one pre-trained network, checked and copied, ready for everything that follows."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import LoadError, some
from concertina.load.hub import LIBRARIES, is_library, library_of
from concertina.load.running import run_checked
from concertina.load.weights import COUNTER, adopt_weights, check_finite, read_weights
from concertina.load.zoo import ZOO, ZooNetwork
from concertina.types import Core, Preprocess
from concertina.types.network import UNFIT

LARGEST_TEXT = 100_000
"""Most bytes of a text that an argument of a zoo network names."""


def load(
    source: str | nn.Module,
    example_inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    weights: str | Path | None = None,
    task: str = "",
    class_names: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    licence: str = "",
) -> Core:
    """Return a pre-trained network as a core; the network given is copied, never touched.

    Args:
        source: A network of the zoo ("zoo:digits-cnn", with arguments "zoo:tiny-vit@width=32,depth=2"), of a library
            ("hf:FOLDER" or "hf:org/name" by transformers, "timm:NAME" by timm), or a module of your own.
        example_inputs: What the network is called with, a tensor or a tuple of tensors (batch >= 2, ...);
            needed for a module, ready-made for the others.
        weights: A safetensors file or a checkpoint that holds tensors only; none means the packaged weights of the
            zoo, or those of a library's folder, and "random" means a fixed random start.
        task: Name of the task the network was trained for; named networks know their own, others classify unless said.
        class_names: Class names in the order of the outputs; named networks know their own.
        preprocess: What the network's inputs went through in training; named networks know their own.
        licence: Licence of the weights; a library's folder states it in its model card.

    Raises:
        LoadError: The source is unknown; weights are missing, damaged, not finite or of another
            architecture; the network does not run on the example inputs or not twice alike.
        UnknownNameError: The zoo has no network of that name.
        ExtraError: The library that the source names is not installed.

    Example:
        >>> core = load("zoo:digits-cnn")
        >>> core.module(*core.example_inputs).shape
        torch.Size([2, 10])
    """
    if isinstance(source, nn.Module):
        core = Core(_own_module(source, weights), _example(example_inputs), f"module:{type(source).__name__}", "")
    elif isinstance(source, str):
        named = _library_core if is_library(source) else _zoo_core
        core = named(source, example_inputs, weights)
    else:
        refuse_class(source, "source of a core")
        raise LoadError("source of a core", asked=type(source).__name__, allowed="zoo:NAME, hf:NAME, or a torch module")
    core = replace(
        core,
        fingerprint=fingerprint(core.module),
        task=task or core.task,
        class_names=tuple(class_names) or core.class_names,
        preprocess=core.preprocess if preprocess is None else preprocess,
        licence=licence or core.licence,
    )
    _check_facts(core)
    check_finite(core.module, core.source if weights is None else str(weights))
    _check_classes(core, _try_out(core))
    return core


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers.

    The step counters of batch norm are left out: they change no output, and many weight files lack them.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    digest = hashlib.sha256()
    for name in sorted(name for name in tensors if not name.endswith(COUNTER)):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_class(module: object, what: str) -> None:
    """Refuse a class of modules where a module is wanted.

    Args:
        module: What was given.
        what: What it was given as, for the message.

    Raises:
        LoadError: It is a class; the text says to call it.
    """
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise LoadError(what, asked=f"the class {module.__name__}", allowed="a module", do=f"Give {module.__name__}().")


def _own_module(module: nn.Module, weights: str | Path | None) -> nn.Module:
    """Return a copy of a user's module, with the weights of a file where one is given."""
    own = _copy(module)
    if weights is not None:
        adopt_weights(own, read_weights(Path(weights)), str(weights))
    return own


def _zoo_core(source: str, example_inputs: Tensor | Sequence[Tensor] | None, weights: str | Path | None) -> Core:
    """Return a network of the zoo as a core, not checked yet."""
    name, network, arguments = _find(source)
    return Core(
        module=_zoo_module(name, network, arguments, weights),
        example_inputs=_example(network.example_inputs(**arguments) if example_inputs is None else example_inputs),
        source=name,
        fingerprint="",
        arguments=arguments,
        licence=ZOO.entry(name.removeprefix("zoo:")).licence if weights is None else "",
        class_names=_zoo_classes(network, arguments),
        task=network.task,
        preprocess=network.preprocess,
        augment=network.augment,
    )


def _library_core(source: str, example_inputs: Tensor | Sequence[Tensor] | None, weights: str | Path | None) -> Core:
    """Return a network of a library as a core, not checked yet."""
    library, name = library_of(source), source.partition(":")[2]
    if not name:
        raise LoadError(f"{source!r} names no network", allowed=f"{source}FOLDER, or {source}org/name on the hub")
    found = library.load(name, random=weights is not None)
    if weights not in (None, "random"):
        inner = found.module.get_submodule("network") if hasattr(found.module, "network") else found.module
        adopt_weights(inner, read_weights(Path(weights)), str(weights))
    return Core(
        module=found.module,
        example_inputs=_example(found.example_inputs if example_inputs is None else example_inputs),
        source=f"{library.scheme}:{_hub_label(name)}",
        fingerprint="",
        arguments=found.arguments,
        licence=found.licence if weights is None else "",
        class_names=found.class_names,
        task=found.task,
        preprocess=found.preprocess,
    )


def _hub_label(name: str) -> str:
    """Return a name that tells of a network and not of the machine: that of the hub, or the folder's last part."""
    folder = Path(name).expanduser()
    label = (folder.resolve().name or "folder") if folder.is_dir() else name
    return "".join(c if c.isprintable() else "_" for c in label)[:200]


def _find(source: str) -> tuple[str, ZooNetwork, dict[str, Any]]:
    """Return canonical name, network and complete arguments of "zoo:NAME" or "zoo:NAME@key=value,..."."""
    scheme, colon, rest = source.partition(":")
    if scheme != "zoo" or not colon:
        near = f"Did you mean 'zoo:{source}'?" if source in ZOO else ""
        schemes = ", ".join(f"{name}:NAME" for name in ("zoo", *LIBRARIES.names()))
        allowed = f"{schemes}, or a torch module in Python"
        raise LoadError(f"source {source!r} has no known scheme", allowed=allowed, do=near)
    name, _, text = rest.partition("@")
    network = ZOO.get(name)
    return f"zoo:{name}", network, network.complete(_parse_arguments(text, network))


def _parse_arguments(text: str, network: ZooNetwork) -> dict[str, Any]:
    """Return "width=32,hidden=16x8" as arguments: numbers of a list are joined by 'x', texts lie in files."""
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if isinstance(network.defaults.get(key), str):
            given[key] = _text_in(value, key)
            continue
        numbers = value.split("x")
        if not all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers):
            raise LoadError(f"argument {key!r} of a zoo network", asked=repr(value), allowed="numbers, joined by 'x'")
        is_list = isinstance(network.defaults.get(key), list)
        given[key] = [int(number) for number in numbers] if is_list else int(numbers[0])
    return given


def _text_in(path: str, key: str) -> str:
    """Return the text of a small file that an argument names."""
    try:
        if not 0 < Path(path).stat().st_size <= LARGEST_TEXT:
            raise LoadError(f"argument {key!r}", asked=repr(path), allowed=f"a file of 1 to {LARGEST_TEXT:,} bytes")
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"argument {key!r}", asked=repr(path), allowed="a text file that can be read") from error


def _zoo_module(name: str, network: ZooNetwork, arguments: Mapping[str, Any], weights: str | Path | None) -> nn.Module:
    """Return the network with the weights asked for, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        module = network.build(**arguments).eval()
    if weights == "random":
        return module
    packaged = network.weights_path if arguments == network.defaults else None
    if weights is None and packaged is None:
        raise LoadError(
            f"no weights come with {name!r} of these arguments"
            if network.weights
            else f"no weights come with {name!r}",
            do="Give weights=FILE (--weights), or weights='random' for an untrained network.",
        )
    path = packaged if weights is None else Path(weights)
    if path is not None:
        given = read_weights(path)
        adopt_weights(module, network.adapt(given, arguments) if network.adapt else given, str(path))
    return module


def _zoo_classes(network: ZooNetwork, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the network's class names, unless its arguments ask for another number of classes."""
    return network.class_names if arguments.get("classes") == len(network.class_names) else ()


def _copy(module: nn.Module) -> nn.Module:
    """Return a deep copy of a user's module that holds values, in eval mode."""
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise LoadError(f"module {type(module).__name__} has tensors on the meta device, without values")
    if not any(True for _ in module.parameters()):
        raise LoadError(f"module {type(module).__name__} has no parameters")
    return own_copy(module)


def own_copy(module: nn.Module) -> nn.Module:
    """Return a deep copy of a user's module, in eval mode; the one given is never touched.

    Raises:
        LoadError: The module cannot be copied.
    """
    try:
        return copy.deepcopy(module).eval()
    except (RuntimeError, TypeError, copy.Error) as error:
        raise LoadError(
            f"module {type(module).__name__} cannot be copied",
            asked=str(error).split("\n")[0],
            do="Take computed tensors, locks and open files out of its attributes.",
        ) from error


def _example(example_inputs: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """Return example inputs as a tuple of tensors that share a batch of 2 or more."""
    if example_inputs is None:
        raise LoadError("a module needs example inputs", do="Call load(module, torch.randn(2, ...)).")
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    if not inputs or not all(isinstance(item, Tensor) for item in inputs):
        raise LoadError("example inputs", asked=str([type(item).__name__ for item in inputs]), allowed="tensors")
    sizes = {item.shape[0] if item.dim() else 0 for item in inputs}
    if len(sizes) != 1 or min(sizes) < 2:
        raise LoadError("batch of the example inputs", asked=str(sorted(sizes)), allowed="one size of 2 or more")
    if not all(bool(torch.isfinite(item).all()) for item in inputs):
        raise LoadError("example inputs hold NaN or infinite values")
    return tuple(item.detach().clone() for item in inputs)


def _try_out(core: Core) -> Tensor:
    """Return the outputs for the example inputs, after checking that they are usable and repeatable."""
    with torch.no_grad():
        outputs, again = (run_checked(core.module, core.example_inputs, core.source) for _ in range(2))
    if outputs.dim() == 0 or outputs.shape[0] != core.example_inputs[0].shape[0]:
        shape = f"shape {tuple(outputs.shape)}"
        raise LoadError(f"output of {core.source}", asked=shape, allowed="the batch as first dim")
    if not torch.allclose(outputs, again, rtol=1e-3, atol=1e-5):
        raise LoadError(
            f"{core.source} in eval mode gives two answers to one input",
            do="Draw no random numbers in eval mode: use nn.Dropout, or F.dropout with training=self.training.",
        )
    return outputs


def _check_facts(core: Core) -> None:
    """Refuse facts that no file could keep: texts with control characters, and values of another kind."""
    texts = {"class names": core.class_names, "licence": (core.licence,), "task": (core.task,)}
    for what, values in texts.items():
        strange = [value for value in values if not isinstance(value, str) or UNFIT.search(value)]
        if strange:
            allowed = "texts without control characters"
            raise LoadError(what, asked=some(map(repr, strange), 4), allowed=allowed)
    if not isinstance(core.preprocess, Preprocess):
        allowed = "a concertina.Preprocess(scale, mean, std)"
        raise LoadError("preprocess", asked=type(core.preprocess).__name__, allowed=allowed)


def _check_classes(core: Core, outputs: Tensor) -> None:
    """Refuse class names that are doubled or not as many as the outputs."""
    names = core.class_names
    if len(set(names)) != len(names):
        raise LoadError("class names", asked=f"{len(names) - len(set(names))} doubled", allowed="each once")
    if core.task == "classification" and names and outputs.shape[-1] != len(names):
        raise LoadError("class names", asked=str(len(names)), allowed=f"{outputs.shape[-1]}, one for each output")
