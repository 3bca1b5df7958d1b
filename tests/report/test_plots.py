"""Plots: sound XML, everything measured is in them, labels cover nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.samples import accuracy, family, hostile

from concertina.report import ReportData, card, page, pareto_svg
from concertina.report.labels import Box, along, place_labels
from concertina.report.scales import Scale, linear_range, linear_ticks, log_range, log_ticks
from concertina.types import Record

SVG = "{http://www.w3.org/2000/svg}"


def drawn(data: ReportData, **settings) -> ET.Element:
    return ET.fromstring(pareto_svg(data, **settings))


def told(root: ET.Element) -> list[str]:
    return [title.text for title in root.iter(f"{SVG}title")][1:]


def labels(root: ET.Element) -> list[str]:
    return [text.text for text in root.iter(f"{SVG}text")]


def test_every_point_and_every_rival_is_drawn_and_named() -> None:
    root = drawn(family(baselines={"naive": [(0.1, 0.2), (1.0, 0.9)]}))
    assert told(root) == [
        "p10: 81.5% (79.5 to 82.5), n = 500 at 10.0% of the MACs",
        "p50: 87.5% (85.5 to 88.5), n = 500 at 50.0% of the MACs",
        "p100: 95.0% (93.0 to 96.0), n = 500 at 100% of the MACs",
        "20% at 10.0% of the MACs",
        "90% at 100% of the MACs",
    ]
    assert {"p10", "p50", "p100", "this family", "naive"} <= set(labels(root))
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


def test_larger_and_better_points_stand_further_right_and_higher() -> None:
    root = drawn(family())
    spots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")][:3]
    assert spots == sorted(spots)
    assert [y for _, y in spots] == sorted((y for _, y in spots), reverse=True)


def test_cost_is_on_a_log_scale() -> None:
    root = drawn(family(shares=(0.01, 0.1, 1.0)))
    a, b, c = [float(circle.get("cx")) for circle in root.iter(f"{SVG}circle")][:3]
    assert b - a == pytest.approx(c - b, abs=0.2)


def test_readers_who_cannot_see_it_are_told_what_it_shows() -> None:
    root = drawn(family(baselines={"naive": [(0.1, 0.2), (1.0, 0.9)]}), prefix="x")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "x-title x-desc"
    summary = root.find(f"{SVG}desc").text
    assert summary == (
        "Accuracy. this family: 81.5% at 10.0% to 95% at 100% in 3 points of the MACs; "
        "naive: 20% at 10.0% to 90% at 100% in 2 points of the MACs."
    )


@pytest.mark.parametrize("width", [360, 720])
def test_nothing_is_drawn_outside_of_the_frame(width: int) -> None:
    root = drawn(
        family(shares=[(n + 1) / 20 for n in range(20)], baselines={"r": [(0.001, 0.0)]}), width=width, height=300
    )
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx")) <= width
        assert 0 <= float(circle.get("cy")) <= 300
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= width


def test_hostile_names_make_sound_xml_without_extra_elements() -> None:
    root = drawn(hostile())
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds == {"svg", "title", "desc", "style", "g", "path", "text", "polyline", "circle"}


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(-1, 2)), max_size=8), st.text(max_size=30))
def test_any_baseline_makes_sound_xml(pairs: list[tuple[float, float]], name: str) -> None:
    root = drawn(family(baselines={name: pairs}))
    assert len(told(root)) == 3 + sum(share >= 1e-6 for share, _ in pairs)


def test_what_is_no_number_is_left_out() -> None:
    data = family(shares=(0.5, 1.0), baselines={"r": [(0.5, math.nan), (0.0, 0.5)]})
    broken = [accuracy(0, math.nan), *data.records[1:]]
    assert told(drawn(replace(data, records=broken))) == ["p100: 95.0% (93.0 to 96.0), n = 500 at 100% of the MACs"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320])
def test_figures_that_no_one_measured_break_no_report(value: float) -> None:
    data = family()
    strange = [replace(point, share=value, macs=10**400) for point in data.points[:1]]
    records = [replace(r, value=value, low=value, high=value) for r in data.records if r.spec == strange[0].spec.text]
    records += [replace(accuracy(1, 0.9), low=value, high=-value), *data.records[-8:]]
    broken = replace(data, points=[*strange, *data.points[1:]], records=records, baselines={"r": [(value, value)]})
    assert "</html>" in page(broken)
    assert card(broken)
    assert drawn(broken).get("role") == "img"


def test_nothing_measured_is_no_plot() -> None:
    assert pareto_svg(ReportData("a", family().points, [])) == ""


def test_a_metric_that_is_no_share_is_shown_in_its_own_unit() -> None:
    data = family()
    records = [Record(p.spec.text, "spearman", 0.5 + p.share / 4, "correlation", 100) for p in data.points]
    root = drawn(replace(data, records=records))
    assert root.find(f"{SVG}title").text == "Spearman against MACs"
    assert told(root)[0] == "p10: 0.525, n = 100 at 10.0% of the MACs"


@given(st.lists(st.tuples(st.floats(60, 700), st.floats(40, 340)), max_size=25))
def test_labels_cover_neither_points_nor_each_other(spots: list[tuple[float, float]]) -> None:
    named = [(f"p{n}", x, y) for n, (x, y) in enumerate(spots)]
    points = [Box.around(x, y, 5) for x, y in spots]
    frame = Box(50, 30, 720, 350)
    placed = place_labels(named, points, [], frame)
    boxes = []
    for label in placed:
        wide = 6.6 * len(label.text)
        left = label.x - {"start": 0, "middle": wide / 2, "end": wide}[label.anchor]
        boxes.append(Box(left, label.y - 9, left + wide, label.y + 2))
    assert all(frame.holds(box) for box in boxes)
    assert not any(a.meets(b) for a, b in combinations(boxes, 2))
    assert not any(box.meets(one) for box in boxes for one in points)


def test_a_label_keeps_off_lines_where_it_can() -> None:
    above = along([(100, 100), (100, 40)])
    (label,) = place_labels([("p10", 100, 100)], [Box.around(100, 100, 5)], above, Box(0, 0, 300, 300))
    assert label.y > 100
    everywhere = [Box(0, 0, 300, 300)]
    assert len(place_labels([("p10", 100, 100)], [], everywhere, Box(0, 0, 300, 300))) == 1


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9), st.integers(3, 12))
def test_log_ticks_lie_in_range_and_are_few(values: list[float], limit: int) -> None:
    low, high = log_range(values)
    assert low < min(values) <= max(values) < high
    ticks = log_ticks(low, high, limit)
    assert 1 <= len(ticks) <= limit
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(ticks)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.integers(3, 12))
def test_linear_ticks_lie_in_range_and_are_evenly_spaced(values: list[float], limit: int) -> None:
    low, high = linear_range(values)
    assert low < high
    ticks = linear_ticks(low, high, limit)
    assert 1 <= len(ticks) <= limit
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in ticks)


def test_a_scale_maps_its_ends_to_its_pixels() -> None:
    scale = Scale(0.01, 1.0, 50, 250, is_log=True)
    assert (scale(0.01), scale(0.1), scale(1.0)) == pytest.approx((50, 150, 250))
