"""Data as the verbs open it: arrays and images, sentences where a tokenizer is given, or running text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from concertina.errors import DataError, InputError

BYTES, LANGUAGE = "bytes", "language"
"""Names of the tokenizer that is built in, and of the task that reads running text."""

if TYPE_CHECKING:
    from concertina.load.data import TensorData
    from concertina.load.sources import Progress
    from concertina.types import Core


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Options of verbs that may read texts."""

    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For texts: the tokenizer.json that belongs to the network, or 'bytes'."),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Tokens of a sentence, longer ones are cut (64 unless said); or of a window of running text.",
            show_default=False,
        ),
    ] = None


AnyOptions = TypeVar("AnyOptions", bound=TextOptions)


def check_tokenizer(options: TextOptions) -> None:
    """Refuse a tokenizer that is not there.

    Raises:
        InputError: There is no such file.
    """
    if options.tokenizer is not None and str(options.tokenizer) != BYTES and not options.tokenizer.is_file():
        raise InputError("--tokenizer", asked=f"'{options.tokenizer}'", allowed=f"a tokenizer.json file, or {BYTES}")


def with_own_tokenizer(options: AnyOptions, network: str, core: Core) -> AnyOptions:
    """Return options with the tokenizer that lies in the network's own folder, where none was given and one is there.

    Args:
        options: Options of a verb that may read sentences.
        network: The network's name as typed, such as "hf:FOLDER".
        core: The network.
    """
    place = Path(network.partition(":")[2]).expanduser() / "tokenizer.json"
    reads_ids = not core.example_inputs[0].is_floating_point()
    if options.tokenizer is None and reads_ids and network.startswith("hf:") and place.is_file():
        return replace(options, tokenizer=place)
    return options


def opened(text: str, core: Core, options: TextOptions, progress: Progress | None = None) -> TensorData:
    """Return the data that a text names, ready for the network.

    Raises:
        DataError: See `open_data`, `open_texts`, `open_labelled_texts` and `open_tagged_texts`; or the network reads
            token ids and no tokenizer was given.
    """
    from concertina.load import open_labelled_texts, open_tagged_texts, open_texts
    from concertina.load.sources import no_progress

    if core.example_inputs[0].is_floating_point():
        if options.tokenizer is not None:
            raise DataError("--tokenizer", asked="a network that reads numbers", allowed="networks that read token ids")
        return _labelled(text, core, progress or no_progress)
    tokenizer = options.tokenizer or _own_tokenizer(core)
    if tokenizer is None:
        raise DataError(f"{text!r} for a network that reads token ids", do="Give --tokenizer FILE, its tokenizer.json.")
    if core.task in ("classification", "tagging"):
        opening = open_labelled_texts if core.task == "classification" else open_tagged_texts
        return opening(text, tokenizer, max_tokens=options.max_tokens or 64, class_names=core.class_names)
    length = core.example_inputs[0].shape[1] if core.task == LANGUAGE else None
    return open_texts(text, tokenizer, max_tokens=options.max_tokens or length, task=core.task)


def _labelled(text: str, core: Core, report: Progress) -> TensorData:
    """Return data for a network of some classes, labelled by those or by the classes that there were."""
    from concertina.load import columns_from, open_data, open_table

    if core.arguments.get("columns"):
        return open_table(text, columns_from(core.arguments["columns"]))
    try:
        return open_data(text, preprocess=core.preprocess, class_names=core.class_names, progress=report)
    except DataError:
        if not core.all_classes:
            raise
    whole = open_data(text, preprocess=core.preprocess, class_names=core.all_classes, progress=report)
    return whole.for_classes(core.class_names)


def _own_tokenizer(core: Core) -> str | None:
    """Return the tokenizer of language networks with as many token ids as there are bytes; None for others."""
    from concertina.load.tokens import BYTE_IDS

    reads_bytes = core.task == LANGUAGE and core.arguments.get("vocabulary") == BYTE_IDS
    return BYTES if reads_bytes else None
