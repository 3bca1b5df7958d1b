"""A family opened from an address: its first subnet before the rest has come, and all of it in the end."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from tests.family.subjects import digits, fresh
from tests.save.range_server import Content, changing, dropped, serving, status

import concertina as ct
from concertina.errors import StorageError, TruncatedError
from concertina.family import Family


@cache
def family() -> Family:
    """Return a family with the points p2, p20, p60 and p100 and figures of each."""
    return fresh(points=(0.05, 0.2, 0.6))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a family's file."""
    path = tmp_path_factory.mktemp("far") / "digits.concertina"
    family().save(path)
    return path.read_bytes()


def test_the_first_subnet_answers_at_once_and_stays_while_the_rest_comes(data: bytes, tmp_path: Path) -> None:
    inputs = digits("validation").inputs[:4]
    content = Content(data)
    with serving(content) as address, torch.inference_mode():
        found = ct.open(address, upto="p2")
        view = found.at(point="p2")
        first = view(inputs)
        assert torch.allclose(first, family().at(point="p2")(inputs), atol=1e-6)
        assert content.sent < 0.75 * len(data)
        assert (found.complete, found.records) == (False, ())
        content.faults = [dropped(0.5), status(502)]
        assert [point.name for point in found.grow("p60")] == ["p2", "p20", "p60"]
        found.grow()
        assert found.complete
        assert found.at(point="p2") is view
        assert torch.equal(view(inputs), first)
        for point in family().points:
            assert torch.allclose(found.view(point.name)(inputs), family().view(point.name)(inputs), atol=1e-6)
        assert found.records == family().records
        found.save(tmp_path / "again.concertina")
        asked = len(content.asked)
        found.grow()
        assert len(content.asked) == asked
    assert (tmp_path / "again.concertina").stat().st_size == len(data)


def test_what_is_here_stays_usable_where_the_rest_does_not_come(data: bytes) -> None:
    content = Content(data)
    inputs = digits("validation").inputs[:4]
    with serving(content) as address, torch.inference_mode():
        found = ct.open(address, upto="p2")
        wanted = found.at(point="p2")(inputs)
        content.faults = [changing(etag='"two"')]
        with pytest.raises(StorageError, match="another file by now: another ETag"):
            found.grow()
        assert [point.name for point in found.points] == ["p2"]
        assert torch.equal(found.at(point="p2")(inputs), wanted)
        content.etag = '"one"'
        assert len(found.grow()) == 4


def test_a_file_that_is_cut_or_not_the_one_that_was_pinned_is_refused(data: bytes) -> None:
    with serving(Content(data[: int(0.6 * len(data))])) as address:
        assert ct.open(address, upto="p2").at(point="p2") is not None
        with pytest.raises(TruncatedError, match="the largest point that is wholly there"):
            ct.open(address)
    with serving(Content(data)) as address, pytest.raises(ct.ConcertinaError, match="This is another file"):
        ct.open(address, upto="p2", sha256="0" * 64)
