"""The page: one offline file, nothing of a family's names taken as markup, nothing said without a record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.samples import HOSTILE, accuracy, family, hostile, latency, point

from concertina.errors import StorageError
from concertina.report import ReportData, page, report_data, write_report
from concertina.types import Core, Graph, Group, Record

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def assert_is_harmless(text: str) -> Reader:
    read = Reader(text)
    assert read.open == []
    assert not set(read.tags) & {"script", "iframe", "object", "embed", "img", "link", "form", "base", "a", "image"}
    names = {name for name, _ in read.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "xlink:href", "action")]
    assert "url(" not in text
    assert "@import" not in text
    return read


def test_the_page_loads_nothing_and_forbids_it() -> None:
    text = page(family())
    read = assert_is_harmless(text)
    policy = next(value for name, value in read.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert text.count("http") == text.count("http-equiv") + text.count('xmlns="http://www.w3.org/2000/svg"')
    assert text.startswith("<!doctype html>")


def test_hostile_names_are_text_and_stay_visible() -> None:
    read = assert_is_harmless(page(hostile()))
    assert read.tags == {**read.tags, "style": 3, "svg": 2}
    assert "<script>alert(1)</script>" in read.text
    assert "{{ 7 * 7 }}" in read.text
    assert not any(char in read.text for char in "\u202e\x00\x1b\ud800")
    assert "x" * 500 not in read.text


@given(st.lists(st.text(max_size=40), min_size=4, max_size=4))
def test_whatever_the_names_the_same_elements_come_out(names: list[str]) -> None:
    def made(title: str, name: str, label: str, rival: str) -> ReportData:
        data = family(classes=(f"c{name}",), title=title, provenance={label: name}, baselines={rival: [(0.5, 0.5)]})
        return replace(data, points=[replace(data.points[0], name=f"p{name}"), *data.points[1:]])

    read = assert_is_harmless(page(made(*names)))
    assert read.tags == {**Reader(page(made("a", "b", "c", "d"))).tags}


def test_the_largest_family_makes_a_small_page() -> None:
    classes = [f"class number {number} with quite a long name, longer than any table likes" for number in range(1000)]
    groups = [Group(f"layer{n}.conv{'x' * 60}", 64, (), rigid="permute: output changed " * 4) for n in range(2000)]
    shares = [(place + 1) / 20 for place in range(20)]
    rivals = {f"rival {n}": [(share, 0.5) for share in shares] for n in range(6)}
    provenance = {f"key {n}": "value " * 50 for n in range(200)}
    text = page(family(shares, classes, groups=groups, baselines=rivals, provenance=provenance))
    assert len(text.encode()) < 200_000
    assert "970 others are not shown" in text
    assert "1880 more are not shown" in text


def test_the_table_shows_the_records_and_a_dash_where_there_is_none() -> None:
    data = family()
    kept = [r for r in data.records if not (r.spec == data.points[1].spec.text and r.metric == "accuracy")]
    text = Reader(page(replace(data, records=kept))).text
    assert (
        "p10 81.5% 79.5 to 82.5 dog 71.9% (35.9 to 100.0) 100 k 10.0% 8.00 k 32.0 kB 1.30 / 1.95 1.27 to 1.33" in text
    )
    assert "p50 – dog 79.9%" in text


def test_the_core_stands_beside_its_family() -> None:
    data = family()
    core = Record("core", "accuracy", 0.97, "share", 500, 0.95, 0.98, data="d1")
    text = Reader(page(replace(data, records=[core, *data.records]))).text
    assert "core 97.0% 95.0 to 98.0 – 1.00 M 100% 80.0 k 320 kB –" in text


def test_recall_is_shaded_by_how_low_it_is() -> None:
    text = page(family(shares=(0.5, 1.0), classes=("a",)))
    assert 'class="h2" title="40.0 to 100.0, n = 50">80.0%' in text
    assert 'class="h1" title="45.0 to 100.0, n = 50">90.0%' in text


def test_latency_that_cannot_be_trusted_is_marked() -> None:
    data = family(shares=(0.5, 1.0))
    doubtful = [r for r in data.records if not r.metric.startswith("latency")] + latency(0, 2.0)
    doubtful += latency(1, 9.0, "batch=1 threads=1 ungated unresolved")
    text = Reader(page(replace(data, records=doubtful))).text
    assert text.count("batch=1 threads=1") == 1
    assert "9.00 / 13.5 ungated unresolved" in text
    assert "do not build on these figures" in text


def test_groups_are_listed_with_their_reasons() -> None:
    groups = [Group("layer1.conv1", 16, ()), Group("stream", 16, (), rigid="permute: the shortcut pads")]
    text = Reader(page(family(groups=groups))).text
    assert "1 parts of the network are elastic, 1 are kept whole" in text
    assert "stream 16 rigid: permute: the shortcut pads" in text


@pytest.mark.parametrize("data", [ReportData("Empty", [], []), ReportData("Bare", [point(0, 1.0)], [])])
def test_a_family_without_figures_still_has_a_page(data: ReportData) -> None:
    assert data.title in assert_is_harmless(page(data)).text


def test_equal_families_make_equal_pages_with_ids_used_once() -> None:
    assert page(family()) == page(family())
    ids = [value for name, value in Reader(page(family())).attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0


@dataclass
class Evidence:
    provenance: dict = field(default_factory=lambda: {"recipe": "sandwich"})


class Family:
    """As much of a family as a report needs."""

    def __init__(self, data: ReportData, graph: Graph | None = None) -> None:
        self.points, self.records, self.graph, self.evidence = data.points, data.records, graph, Evidence()
        self.core = Core(None, (), "zoo:some", "f" * 64, licence="MIT", class_names=("cat", "dog"))


def rival(place: int, name: str, macs: float, value: float, data: str = "d1") -> list[Record]:
    text = accuracy(place, value).spec
    cost = Record(text, "macs", macs, "MACs", scope=name, data=data)
    return [cost, Record(text, "accuracy", value, "share", 500, scope=name, data=data)]


def test_a_family_gives_its_origin_its_rivals_and_its_groups() -> None:
    data = family()
    rivals = [
        *rival(1, "naive", 500_000, 0.4),
        *rival(0, "naive", 90_000, 0.1),
        *rival(0, "other data", 1.0, 0.9, "d2"),
    ]
    graph = Graph((Group("a", 8, ()),), ())
    made = report_data(Family(replace(data, records=[*data.records, *rivals]), graph), "Title")
    assert made.baselines == {"naive": [(0.09, 0.1), (0.5, 0.4)]}
    assert dict(made.provenance).items() >= {"source": "zoo:some", "licence": "MIT", "recipe": "sandwich"}.items()
    assert [group.name for group in made.groups] == ["a"]
    assert "naive" in page(made)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(hostile(), path)
    assert path.read_text(encoding="utf-8") == page(hostile())
    with pytest.raises(StorageError, match="no such folder"):
        write_report(family(), tmp_path / "none" / "report.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_hostile_samples_hold_what_they_are_meant_to() -> None:
    assert any("<script>" in name for name in HOSTILE)
    assert len(hostile().points) == len(HOSTILE)
