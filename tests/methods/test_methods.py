"""The methods table: status follows from evidence, and the evidence is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.house.sources import PACKAGE, calls, functions, trees

from concertina.errors import InputError
from concertina.methods import FAMILIES, STATUSES, choose, load_evidence, load_methods, registries
from concertina.registry import Registry


def test_every_method_is_listed_once_with_a_known_family() -> None:
    methods = load_methods()
    ids = [single for method in methods for single in method.ids]
    assert len(methods) == 110
    assert len(ids) == len(set(ids))
    assert {method.family for method in methods} <= set(FAMILIES)
    assert {method.status for method in methods} <= set(STATUSES)


def test_an_id_that_stands_twice_in_the_list_is_found_by_both() -> None:
    found = [method for method in load_methods() if "004-104" in method.ids]
    assert [method.ids for method in found] == [("001-30", "004-104")]


def test_a_registered_part_makes_its_method_part() -> None:
    parts: Registry[type] = Registry("criterion")

    @parts.register("made-up", source="ours", methods=("004-280",))
    class MadeUp:
        "A made-up criterion."

    method = next(m for m in load_methods([parts]) if m.id == "004-280")
    assert (method.status, method.verb, method.evidence) == ("part", "fit", ("criterion made-up",))


def test_ids_named_by_parts_and_evidence_exist() -> None:
    known = {single for method in load_methods() for single in method.ids}
    named = {single for registry in registries() for entry in registry for single in entry.methods}
    assert (named | {row.id for row in load_evidence()}) - known == set()


def test_all_registries_are_read() -> None:
    made = {
        target.id
        for tree in trees(PACKAGE).values()
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name)
        if node.value is not None and any(called == "Registry" for called, _ in calls(node.value))
    }
    assert len(made) == len(registries()), f"methods/parts.py lists {len(registries())} of these: {sorted(made)}"


@pytest.mark.parametrize("row", load_evidence(), ids=lambda row: f"{row.id} {row.evidence}")
def test_evidence_is_there(row: object, root: Path) -> None:
    assert row.status in ("works", "part")
    assert (PACKAGE / "cli" / f"{row.verb}.py").exists(), f"{row.id}: no verb {row.verb!r}"
    assert row.evidence or row.status == "part", f"{row.id}: 'works' needs a test or a record"
    file, _, test = row.evidence.partition("::")
    assert not row.evidence or (root / file).is_file(), f"{row.id}: {file} is not there"
    if test:
        there = {node.name for node in functions(ast.parse((root / file).read_text(encoding="utf-8")))}
        assert test.partition("[")[0].split("::")[-1] in there, f"{row.id}: no test {test} in {file}"


def test_choosing() -> None:
    methods = load_methods()
    assert {method.family for method in choose(methods, family="B")} == {"B"}
    assert sum(len(choose(methods, status=status)) for status in STATUSES) == len(methods)
    with pytest.raises(InputError, match="allowed: works, part, none"):
        choose(methods, status="done")
    with pytest.raises(InputError, match=r"W \(width\)"):
        choose(methods, family="Z")
