"""The manifest: text and back, and sound whoever makes it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.save.builders import random_family, residual_family, small_family

from concertina.errors import ConcertinaError, DtypeError, HeaderError, ShapeError, VersionError
from concertina.save import Architecture, Manifest, TensorInfo, from_json, to_json
from concertina.types import Member, Preprocess, Rewrite, Space, SubnetSpec

SMALL = small_family().manifest


def with_private(seed: int) -> Manifest:
    family = random_family(seed)
    dtypes = {info.name: info for info in family.manifest.tensors}
    private = {
        name: tuple(TensorInfo(key, dtypes[key].dtype if key in dtypes else "U16", a.shape) for key, a in held.items())
        for name, held in family.private.items()
        if held
    }
    return replace(family.manifest, private=private)


@given(st.integers(0, 2**32 - 1))
def test_text_and_back(seed: int) -> None:
    manifest = with_private(seed)
    text = to_json(manifest)
    assert from_json(text) == manifest
    assert to_json(from_json(text)) == text


def test_everything_comes_back() -> None:
    found = from_json(to_json(SMALL))
    assert found == SMALL
    assert found.points[1].spec == SubnetSpec.of({"width:stem": 8, "depth:block": 0, "inner": 3})
    assert found.architecture.arguments == {"classes": 10, "widths": [8, 12], "bias": True, "name": None}
    assert (found.class_names, found.licence) == (("Katze", "犬", "a\tb"), "Apache-2.0\nwith a second line")
    assert found.dims[2].attributes[0].module == "somewhere.else"


def test_a_point_on_the_order_stores_only_its_position() -> None:
    manifest = residual_family(9).manifest
    text = to_json(manifest)
    assert len(text) < 18_000
    assert [row[1] for row in json.loads(text)["points"]] == [point.position for point in manifest.points]
    assert len(manifest.tensors) == 277


def test_floats_are_exact() -> None:
    preprocess = Preprocess(1 / 3, (0.1 + 0.2, 5e-324, -0.0), (1e308, 2 / 3, 1.0))
    found = from_json(to_json(replace(SMALL, preprocess=preprocess))).preprocess
    assert repr(found) == repr(preprocess)


def changed_dim(i: int, **changes: Any) -> Manifest:
    dims = list(SMALL.dims)
    dims[i] = replace(dims[i], **changes)
    return replace(SMALL, dims=tuple(dims))


def rewritten(how: Rewrite) -> Manifest:
    return replace(SMALL, architecture=Architecture("x", rewritten={"stem": how}))


def test_layers_written_as_two_come_back() -> None:
    made = rewritten(Rewrite("grouped", 8, ((100, 8), (300, 2))))
    assert from_json(to_json(made)) == made
    assert "rewritten" not in json.loads(to_json(SMALL))["architecture"]
    for strange in (
        7,
        {"stem": 3},
        {"stem": ["linear", 4]},
        {"stem": ["linear", 4, [[1, 2, 3]]]},
        {"stem": ["a", 1e9, []]},
    ):
        table = json.loads(to_json(SMALL))
        table["architecture"]["rewritten"] = strange
        with pytest.raises(HeaderError, match=r"stem|rewritten"):
            from_json(json.dumps(table))


def changed_point(i: int, **changes: Any) -> Manifest:
    points = list(SMALL.points)
    points[i] = replace(points[i], **changes)
    return replace(SMALL, points=tuple(points))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: replace(SMALL, format_version=2), VersionError, "got 2; allowed: 1"),
        (lambda: replace(SMALL, steps=(0, 1)), HeaderError, "ends before the full network"),
        (lambda: replace(SMALL, steps=tuple(np.array(SMALL.steps))), HeaderError, "np.int64"),
        (lambda: replace(SMALL, tensors=(*SMALL.tensors, SMALL.tensors[0])), HeaderError, "each name once"),
        (lambda: replace(SMALL, tensors=(TensorInfo("x", "F31", (1,)),)), DtypeError, "F31"),
        (lambda: replace(SMALL, provenance={"a": [1]}), HeaderError, "provenance 'a'"),
        (lambda: replace(SMALL, provenance={"a": float("inf")}), HeaderError, "finite"),
        (lambda: replace(SMALL, architecture=Architecture("")), HeaderError, "architecture source"),
        (lambda: replace(SMALL, architecture=Architecture("x", {"a": {1}})), HeaderError, "architecture arguments"),
        (lambda: replace(SMALL, architecture=Architecture("x", {}, (((1,), "F99"),))), DtypeError, "F99"),
        (lambda: rewritten(Rewrite("linear", 0)), HeaderError, "rank of 'stem'"),
        (lambda: rewritten(Rewrite("", 3)), HeaderError, "rewritten layer 'stem'"),
        (lambda: rewritten(Rewrite("grouped", 3, ((4,),))), HeaderError, "groups of 'stem'"),
        (lambda: rewritten(Rewrite("grouped", 3, ((4, -1),))), HeaderError, "groups of 'stem'"),
        (lambda: replace(SMALL, preprocess=Preprocess(1.0, (), (0.0,))), HeaderError, "other than 0"),
        (lambda: replace(SMALL, private={"p0": (TensorInfo("stem.weight", "F32", (8, 3, 3, 3)),)}), ShapeError, "p0"),
        (lambda: changed_dim(0, choices=(2, 4, 7)), ShapeError, "7 units of 1 positions; allowed: 8"),
        (lambda: changed_dim(0, members=(Member("gone", 0, "out"),)), HeaderError, "the name of a tensor"),
        (lambda: changed_dim(0, members=(Member("mask", -1, "gate"), Member("mask", 0, "in"))), HeaderError, "gate"),
        (lambda: changed_dim(2, name="width:stem"), HeaderError, "each name once"),
        (lambda: changed_dim(2, needs=("nothing",)), HeaderError, "names of other dims"),
        (lambda: changed_point(0, name="p2"), HeaderError, "each name once"),
        (lambda: changed_point(0, position=1), HeaderError, "the spec of position 1"),
        (lambda: changed_point(0, share=float("nan")), HeaderError, "share"),
        (lambda: changed_point(1, spec=Space(SMALL.dims[:1]).full), HeaderError, "leaves out dims"),
        (lambda: changed_point(1, spec=SMALL.points[1].spec.with_choice("inner", 6)), HeaderError, "at their floor"),
        (lambda: changed_point(2, metrics=(("a", 1.0), ("a", 2.0))), HeaderError, "each name once"),
    ],
)
def test_an_unsound_manifest_cannot_be_made(make: Any, error: type[ConcertinaError], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(HeaderError, match="keys"):
        to_json(replace(SMALL, architecture=Architecture("x", {1: 2})))  # type: ignore[dict-item]
