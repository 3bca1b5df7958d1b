"""One sample through every subnet: what is asked, and what is told of the answers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import ConcertinaError, InputError
from concertina.report.wording import shown
from concertina.serve.binary import from_json
from concertina.serve.picture import BYTES_A_PIXEL, Frame, from_pixels, white_of
from concertina.serve.protocol import JSON_BYTES, largest_body
from concertina.serve.session import Session
from concertina.serve.settings import LOWEST, Answer, Request
from concertina.serve.signature import FREE, Signature, Slot
from concertina.types import Core

KINDS = ("pixels", "numbers", "random")
"""What a sample may come as."""
BEST = 5
"""Classes told of an answer."""
NUMBERS = 8
"""Numbers told of an answer that has no classes."""
MOST_WRITTEN = 1024
"""Numbers of a sample that people can be expected to look at."""
BEHIND: Request = {"priority": LOWEST, "timeout_ms": 20_000.0, "latency_budget_ms": 600_000.0}
"""How a trial asks: behind everything else, in no hurry whatever the usual budget is, and not for ever."""
MOST_WHITE = 1e6


def largest_trial(session: Session) -> int:
    """Return the most bytes that a sample can have."""
    frame = Frame.of(session.signature)
    pixels = BYTES_A_PIXEL * frame.longest**2 if frame is not None else 0
    return max(pixels, JSON_BYTES, largest_body(session.signature, 1))


def read_sample(query: Mapping[str, str], body: bytes, session: Session) -> tuple[Tensor, ...]:
    """Return the inputs of one sample.

    Args:
        query: `kind`, one of `KINDS`, and what belongs to it: `width`, `height`, `white`, `invert`; `seed`.
        body: Pixels, or numbers as JSON.
        session: Tells what the network takes.

    Raises:
        InputError: The text says what is wrong and what is allowed.
    """
    kind, signature, core = query.get("kind", ""), session.signature, session.family.core
    if kind == "pixels":
        return (_pixels(query, body, signature, core),)
    if kind == "numbers":
        found = _numbers(body, signature)
        signature.check(found, 1)
        return found
    if kind == "random":
        return random_sample(signature, core.module, _whole(query, "seed", 0, 2**31))
    raise InputError("kind", asked=repr(kind)[:50], allowed=", ".join(KINDS))


async def tried(session: Session, inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Return the answer of every subnet as JSON values, smallest first; one after the other, behind all other work."""
    told: list[dict[str, Any]] = []
    outputs: list[tuple[dict[str, Any], Tensor]] = []
    for point in session.points:
        try:
            request: Request = {"subnet": point.name, **BEHIND}
            future = session.submit(*inputs, **request)
            answer = await asyncio.wrap_future(future)
        except ConcertinaError as error:
            told.append({"name": point.name, "error": str(error)})
        else:
            told.append({"name": point.name, **told_answer(answer, session.family.core)})
            outputs.append((told[-1], answer.outputs[0].flatten().double()))
    for entry, output in outputs:
        entry["like_largest"] = _cosine(output, outputs[-1][1])
    return told


def told_answer(answer: Answer, core: Core) -> dict[str, Any]:
    """Return what an answer says as JSON values: the likeliest classes, or its first numbers."""
    output = answer.outputs[0]
    told: dict[str, Any] = {"compute_ms": round(answer.compute_ms, 3), "queue_ms": round(answer.queue_ms, 3)}
    scores = _scores(output, core.task)
    if scores is not None:
        names = core.class_names if len(core.class_names) == len(scores) and output.ndim == 2 else ()
        return told | {"best": _best(scores, names, "token" if output.ndim == 3 else "class")}
    flat = output.flatten()
    numbers = [value if math.isfinite(value) else None for value in flat[:NUMBERS].double().tolist()]
    return told | {"numbers": numbers, "of": flat.numel(), "shape": list(output.shape)}


def random_sample(signature: Signature, module: nn.Module, seed: int) -> tuple[Tensor, ...]:
    """Return one sample drawn at random: normal numbers, the network's own words, masks that hide nothing.

    Numbers have two decimals, so that people can read them.

    Args:
        signature: What the network takes.
        module: The network; its tables of words tell how many there are.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    words = min((m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)), default=1)

    def drawn(slot: Slot) -> Tensor:
        """Return one input."""
        shape = (1, *(min(slot.longest, 16) if side == FREE else side for side in slot.shape[1:]))
        if slot.dtype.is_floating_point:
            return torch.randn(shape, generator=generator).mul(100).round().div(100).to(slot.dtype)
        return _filling(slot, shape, torch.randint(words, shape, generator=generator))

    return tuple(drawn(slot) for slot in signature.inputs)


def written_sample(inputs: Sequence[Tensor], signature: Signature) -> str:
    """Return a sample as people can read and change it, as `read_sample` takes it; "" for one of many numbers."""
    if sum(tensor.numel() for tensor in inputs) > MOST_WRITTEN:
        return ""
    rows = {
        slot.name: [f"{value:.6g}" if isinstance(value, float) else str(value) for value in tensor.flatten().tolist()]
        for slot, tensor in zip(signature.inputs, inputs, strict=True)
    }
    if len(rows) == 1:
        return ", ".join(*rows.values())
    return "{" + ", ".join(f"{json.dumps(name)}: [{', '.join(row)}]" for name, row in rows.items()) + "}"


def _filling(slot: Slot, shape: Sequence[int], words: Tensor | None) -> Tensor:
    """Return what a whole-number input has where nobody says: ones for masks, no second text, else the words."""
    if "mask" in slot.name:
        return torch.ones(tuple(shape), dtype=slot.dtype)
    if "type" in slot.name or words is None:
        return torch.zeros(tuple(shape), dtype=slot.dtype)
    return words.to(slot.dtype)


def _pixels(query: Mapping[str, str], body: bytes, signature: Signature, core: Core) -> Tensor:
    frame = Frame.of(signature)
    if frame is None:
        raise InputError("kind", asked="'pixels'", allowed="numbers, random: this network does not take images")
    width, height = (_whole(query, side, 1, frame.longest) for side in ("width", "height"))
    white = white_of(core.preprocess) or _amount(query, "white", MOST_WHITE)
    inverted = bool(_whole(query, "invert", 0, 1))
    image = from_pixels(body, width, height, frame, core.preprocess, white=white, inverted=inverted)
    return image.to(signature.inputs[0].dtype)


def _numbers(body: bytes, signature: Signature) -> tuple[Tensor, ...]:
    """Return inputs given as JSON: a list for the first input, or an object with a list for each by name."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("sample", asked="no JSON", allowed="a list of numbers") from error
    slots = {slot.name: slot for slot in signature.inputs}
    lists = given if isinstance(given, dict) else {signature.inputs[0].name: given}
    for name in lists:
        if name not in slots:
            raise InputError("input", asked=repr(name)[:50], allowed=", ".join(slots))
    first = next(iter(lists.values()), None)
    found = []
    for slot in signature.inputs:
        shape = _shape(slot, lists.get(slot.name, first))
        if slot.name in lists:
            found.append(from_json(_flat(lists[slot.name]), slot.dtype, shape, slot.name))
        elif slot.dtype.is_floating_point or not ("mask" in slot.name or "type" in slot.name):
            raise InputError(
                "sample", asked=f"no numbers for input {slot.name!r}", allowed=f"all of {', '.join(slots)}"
            )
        else:
            found.append(_filling(slot, shape, None))
    return tuple(found)


def _shape(slot: Slot, given: object) -> list[int]:
    """Return the shape of one sample of an input; free sides are as long as the list.

    Raises:
        InputError: The list is none, or too long.
    """
    if FREE not in slot.shape[1:]:
        return [1, *slot.shape[1:]]
    flat = _flat(given)
    length = len(flat) if isinstance(flat, list) else 0
    if not 1 <= length <= slot.longest:
        raise InputError(f"input {slot.name!r}", asked=f"{length} numbers", allowed=f"1 to {slot.longest}")
    return [1, *(length if side == FREE else side for side in slot.shape[1:])]


def _flat(given: object) -> object:
    """Return a list of lists as one list."""
    while isinstance(given, list) and given and all(isinstance(row, list) for row in given):
        given = [value for row in given for value in row]
    return given


def _scores(output: Tensor, task: str) -> Tensor | None:
    """Return probabilities (classes,) where an output says them: of classes, or of the token that comes next."""
    row = output[0] if task == "classification" and output.ndim == 2 else None
    if task == "language" and output.ndim == 3:
        row = output[0, -1]
    if row is None or len(row) < 2 or not bool(row.isfinite().all()):
        return None
    return row.double().softmax(0)


def _best(scores: Tensor, names: Sequence[str], what: str) -> list[dict[str, Any]]:
    found = scores.topk(min(BEST, len(scores)))
    return [
        {"label": shown(names[place]) if names else f"{what} {place}", "number": place, "share": round(share, 6)}
        for share, place in zip(found.values.tolist(), found.indices.tolist(), strict=True)
    ]


def _cosine(one: Tensor, other: Tensor) -> float | None:
    if one.shape != other.shape or not bool(one.isfinite().all() and other.isfinite().all()):
        return None
    return round(float(torch.nn.functional.cosine_similarity(one, other, dim=0)), 4)


def _whole(query: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = query.get(name, "0" if low == 0 else "")
    if not (text.isascii() and text.isdecimal() and len(text) < 12) or not low <= int(text) <= high:
        raise InputError(name, asked=repr(text)[:50], allowed=f"a whole number, {low} to {high}")
    return int(text)


def _amount(query: Mapping[str, str], name: str, most: float) -> float:
    try:
        found = float(query.get(name, ""))
    except ValueError:
        found = math.nan
    if not 0 < found <= most:
        raise InputError(name, asked=repr(query.get(name, ""))[:50], allowed=f"a number above 0, up to {most:g}")
    return found
