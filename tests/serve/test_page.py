"""The page at `/` without a browser: its files and headers, live figures, samples, and what is refused."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest
import torch
from tests.serve.hostile import IMAGE, SCRIPT, hostile_family
from tests.serve.subjects import POINTS, expected, family, inputs, session

import concertina as ct
from concertina.errors import InputError
from concertina.serve import Session, Settings
from concertina.serve.app import make_app
from concertina.serve.host import Host
from concertina.serve.picture import Frame, from_pixels
from concertina.serve.recent import BINS, EVERY_S, SLOTS, Recent, quantiles_ms
from concertina.serve.signature import FREE, Signature, Slot
from concertina.serve.trial import random_sample, read_sample, told_answer
from concertina.types import Preprocess

WEB = Path(ct.serve.__file__).parent / "web"
MODEL = "/v2/models/digits"
ENTRY = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": inputs().flatten().tolist()}


@cache
def host() -> Host:
    made = Host("digits", session)
    made.start()
    assert made.wait(60)
    return made


application = cache(make_app)


def ask(method: str, path: str, of: Host | None = None, page: bool = True, **more: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(application(of or host(), page=page), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(once())


def texts() -> Iterator[tuple[str, str]]:
    for file in WEB.iterdir():
        yield file.name, file.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_comes_with_a_policy_that_lets_nothing_else_in(method: str) -> None:
    answer = ask(method, "/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_every_file_that_the_page_names_is_there_and_nothing_is_elsewhere() -> None:
    html = ask("GET", "/").text
    named = re.findall(r'(?:src|href)="(page/[^"]+)"', html)
    named += [f"page/{name}" for _, text in texts() for name in re.findall(r'from "\./([^"]+)"', text)]
    assert len(named) > 8
    for name in named:
        answer = ask("GET", f"/{name}")
        assert answer.status_code == 200, name
        assert "content-security-policy" in answer.headers
    for name, text in texts():
        outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text.replace("http://www.w3.org/2000/svg", ""))
        assert outside == [], name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text), name
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", html)


def test_files_of_the_page_are_small() -> None:
    assert {name for name, text in texts() if len(text.splitlines()) >= 400} == set()
    assert sum(len(text) for _, text in texts()) < 60_000


def test_what_is_no_file_of_the_page_is_a_404_and_a_server_may_go_without() -> None:
    for path in ("/page/none.js", "/page/..%2fpage.py", "/page/page.py"):
        assert ask("GET", path).status_code == 404
    for path in ("/", "/page/state", "/page/main.js"):
        assert ask("GET", path, page=False).status_code == 404
    assert ask("GET", MODEL, page=False).status_code == 200
    assert ask("POST", "/").status_code == 405


def test_the_model_is_told_with_its_points_and_what_a_sample_is() -> None:
    told = ask("GET", "/page/model").json()
    assert [point["name"] for point in told["points"]] == list(POINTS)
    assert told["sample"] == {
        "kind": "image",
        "channels": 1,
        "height": 8,
        "width": 8,
        "longest": 32,
        "white": 16.0,
    }
    assert (told["metric"], told["is_share"], told["classes"]) == ("accuracy", True, 10)
    assert all(0 < point["quality"] < 1 and point["latency_ms"] > 0 for point in told["points"])
    assert told["revision"] == ask("GET", "/page/state").json()["revision"]


def test_the_plot_is_that_of_the_report_with_its_points_marked() -> None:
    answer = ask("GET", "/page/plot.svg?width=500")
    root = ET.fromstring(answer.text)
    assert root.get("width") == "500"
    found = [node.get("data-point") for node in root.iter() if node.get("data-point")]
    assert found == list(POINTS)
    assert "<style" not in answer.text
    assert ".ct-plot" in ask("GET", "/page/plot.css").text
    assert ET.fromstring(ask("GET", "/page/plot.svg?width=99999").text).get("width") == "1200"


def trial(of: Host | None = None, **query: Any) -> httpx.Response:
    content = query.pop("content", b"")
    return ask("POST", "/page/try", of, params=query, content=content)


def grey(width: int, height: int, level: int) -> bytes:
    return bytes([level, level, level, 255]) * (width * height)


def test_an_image_goes_through_every_size() -> None:
    left_black = b"".join(grey(4, 1, 0) + grey(4, 1, 255) for _ in range(8))
    told = trial(kind="pixels", width=8, height=8, content=left_black).json()["answers"]
    raw = torch.zeros(1, 1, 8, 8)
    raw[..., 4:] = 16.0
    core = family().core
    exact = (raw * core.preprocess.scale - core.preprocess.mean[0]) / core.preprocess.std[0]
    for answer in told:
        wanted = expected(answer["name"], exact)[0].double().softmax(0)
        assert answer["best"][0]["number"] == int(wanted.argmax())
        assert answer["best"][0]["share"] == pytest.approx(float(wanted.max()), abs=1e-4)
        assert [row["share"] for row in answer["best"]] == sorted(
            (row["share"] for row in answer["best"]), reverse=True
        )
    assert [answer["name"] for answer in told] == list(POINTS)
    assert told[-1]["like_largest"] == 1.0


def test_pixels_become_what_the_network_was_trained_on() -> None:
    grey_frame, colour = Frame(1, 4, 4), Frame(3, 4, 4)
    digits = Preprocess(scale=1 / 16, mean=(0.25,), std=(0.5,))
    made = from_pixels(grey(8, 8, 255), 8, 8, grey_frame, digits, white=16.0, inverted=False)
    assert torch.allclose(made, torch.full((1, 1, 4, 4), 1.5), atol=1e-4)
    made = from_pixels(grey(8, 8, 255), 8, 8, grey_frame, digits, white=16.0, inverted=True)
    assert torch.allclose(made, torch.full((1, 1, 4, 4), -0.5), atol=1e-4)
    red = bytes([255, 0, 0, 255]) * 16
    made = from_pixels(red, 4, 4, colour, Preprocess(), white=255.0, inverted=False)
    assert made[0].amax((1, 2)).tolist() == pytest.approx([255.0, 0.0, 0.0], abs=1e-3)
    with pytest.raises(InputError, match="pixels: got 63 bytes"):
        from_pixels(red[:63], 4, 4, colour, Preprocess(), white=1.0, inverted=False)


def test_numbers_and_random_inputs_go_through_every_size() -> None:
    sample = inputs()
    for content in (sample.flatten().tolist(), sample.tolist(), sample[0].tolist(), {"x": sample.tolist()}):
        told = trial(kind="numbers", content=json.dumps(content).encode()).json()["answers"]
        assert told[0]["best"][0]["number"] == int(expected("p25", sample)[0].argmax())
    first, again, other = (trial(kind="random", seed=seed).json()["answers"][-1]["best"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "kind: got ''; allowed: pixels, numbers, random"),
        ({"kind": "pixels", "width": 4, "height": 4, "content": b"123"}, 400, "pixels: got 3 bytes; allowed: 64"),
        ({"kind": "pixels", "width": 33, "height": 4}, 400, "width: got '33'; allowed: a whole number, 1 to 32"),
        ({"kind": "pixels", "width": "٣", "height": 4}, 400, "width: got"),
        ({"kind": "pixels", "width": 4, "height": 4, "invert": 2, "content": bytes(64)}, 400, "invert: got '2'"),
        ({"kind": "numbers", "content": b"[1,2"}, 400, "sample: got no JSON"),
        ({"kind": "numbers", "content": b"[" * 30_000}, 400, "sample: got no JSON"),
        ({"kind": "numbers", "content": b"[1,2]"}, 400, "data of input 'x'"),
        ({"kind": "numbers", "content": b'{"y":[1]}'}, 400, "input: got 'y'; allowed: x"),
        ({"kind": "numbers", "content": b"{}"}, 400, "sample: got no numbers for input 'x'"),
        ({"kind": "numbers", "content": b'"abc"'}, 400, "data of input 'x'"),
        ({"kind": "numbers", "content": bytes(10**6)}, 413, "body of the request"),
        ({"kind": "random", "seed": -1}, 400, "seed: got '-1'"),
    ],
)
def test_what_is_wrong_with_a_sample_is_told_by_name(query: dict[str, Any], status: int, words: str) -> None:
    answer = trial(**query)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_other_sites_may_not_use_the_page() -> None:
    for path, method in (("/page/try?kind=random", "POST"), ("/page/model", "GET")):
        answer = ask(method, path, headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, "another site" in answer.json()["error"]) == (404, True)


def test_a_server_that_warms_up_says_so() -> None:
    waiting = Host("digits", session)
    state = ask("GET", "/page/state", waiting).json()
    assert (state["ready"], state["name"], state["recent"]["all"]["answers"]) == (False, "digits", 0)
    assert ask("GET", "/", waiting).status_code == 200
    assert ask("GET", "/page/model", waiting).status_code == 503
    assert trial(waiting, kind="random").status_code == 503


def test_traffic_is_in_the_figures_and_trials_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(host(), "recent", Recent(lambda: now[0]))
    for parameters in ({"subnet": "p25"}, {"subnet": "p50", "latency_budget_ms": 60_000}, {"subnet": "p50"}):
        asked = ask("POST", f"{MODEL}/infer", json={"inputs": [ENTRY], "parameters": parameters})
        assert asked.status_code == 200
    assert ask("POST", f"{MODEL}/infer", content=b"no").status_code == 400
    trial(kind="random")
    trial(kind="none")
    now[0] += EVERY_S
    told = ask("GET", "/page/state").json()
    recent = told["recent"]
    assert [(one["name"], one["answers"]) for one in recent["points"]] == [("p25", 1), ("p50", 2)]
    assert (recent["all"]["answers"], recent["all"]["with_budget"], recent["all"]["in_time"]) == (3, 1, 1)
    assert recent["refusals"] == [{"status": 400, "count": 1}]
    assert recent["all"]["p99_ms"] >= recent["all"]["p50_ms"] > 0
    assert len(recent["refused"]) == len(recent["p50_ms"]) == len(recent["points"][0]["series"]) == SLOTS
    assert told["answered"] == [{"name": "p25", "answers": 1}, {"name": "p50", "answers": 2}]


def test_figures_are_those_of_the_last_two_minutes_and_quantiles_are_right_within_one_percent() -> None:
    now = [5000.0]
    recent = Recent(lambda: now[0])
    times = [0.5 * 1.01**place for place in range(1000)]
    for place, ms in enumerate(times):
        recent.answer("a" if place % 2 else "b", ms, in_time=None if place % 4 else place < 500)
    assert recent.told()["all"]["answers"] == 0  # a slot is told once it is whole
    now[0] += EVERY_S
    recent.answer("a", 1.0, in_time=True)
    told = recent.told()
    assert told["all"]["answers"] == 1000
    assert told["refused"][-1] == 0
    for share, found in ((0.5, told["all"]["p50_ms"]), (0.99, told["all"]["p99_ms"])):
        assert found == pytest.approx(times[math.ceil(share * 1000) - 1], rel=0.016)
    assert (told["all"]["with_budget"], told["all"]["in_time"]) == (250, 125)
    assert [sum(one["series"]) for one in told["points"]] == [500, 500]
    assert told["points"][0]["series"][-1] == 500
    now[0] += EVERY_S * (SLOTS - 1)
    assert recent.told()["all"]["answers"] == 1001
    now[0] += EVERY_S
    assert recent.told()["all"]["answers"] == 1
    now[0] += EVERY_S
    recent.refusal(503)
    told = recent.told()
    assert (told["all"]["answers"], told["all"]["p99_ms"]) == (0, None)
    assert quantiles_ms(np.zeros((1, BINS), np.int64), 0.5) == [None]


def test_how_far_a_file_is_and_that_nothing_was_measured_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    coming = {"bytes": 10, "of": 20, "to_come": ["p100"]}
    monkeypatch.setattr(host(), "arriving", lambda: {"arriving": coming})
    assert ask("GET", "/page/state").json()["arriving"] == coming
    bare = ct.Family(family().core, family().supernet)
    with Session(bare, session().settings) as made:
        of = Host("digits", lambda: made)
        of.start()
        of.wait(60)
        answer = ask("GET", "/page/plot.svg", of)
        assert (answer.status_code, answer.content) == (204, b"")


def test_a_trial_is_in_no_hurry_whatever_the_usual_budget_is() -> None:
    with Session(family(), replace(session().settings, latency_budget_ms=0.3)) as made:
        of = Host("digits", lambda: made)
        of.start()
        of.wait(60)
        assert ask("POST", f"{MODEL}/versions/p100/infer", of, json={"inputs": [ENTRY]}).status_code == 400
        assert [set(answer) & {"error", "best"} for answer in trial(of, kind="random").json()["answers"]] == [
            {"best"}
        ] * 3


def test_a_new_session_is_a_new_revision() -> None:
    made = Host("digits", lambda: Session(family(), replace(session().settings)))
    made.start()
    made.wait(60)
    before = made.revision
    assert made.reload()
    assert made.revision != before
    assert not ask("GET", "/page/state", made).json()["closing"]
    made.close()
    assert ask("GET", "/page/state", made).json()["closing"]
    assert Host("digits", session).revision.partition("-")[0] != before.partition("-")[0]


def test_hostile_names_reach_the_page_as_data_only() -> None:
    times = {name: {1: 1.0} for name in (SCRIPT, IMAGE, "__proto__")}
    with Session(hostile_family(), Settings(times_ms=times)) as made:
        of = Host("<b>&amp;", lambda: made)
        of.start()
        of.wait(60)
        assert "onerror" not in ask("GET", "/", of).text
        told = ask("GET", "/page/model", of)
        assert told.headers["content-type"] == "application/json"
        assert [point["name"] for point in told.json()["points"]] == [SCRIPT, IMAGE, "__proto__"]
        assert "\u202e" not in json.dumps([point["shown"] for point in told.json()["points"]], ensure_ascii=False)
        svg = ask("GET", "/page/plot.svg", of).text
        assert "<script" not in svg
        assert "<img" not in svg
        assert SCRIPT in [node.get("data-point") for node in ET.fromstring(svg).iter()]
        answers = trial(of, kind="random").json()["answers"]
        assert SCRIPT in answers[0]["best"][0]["label"]


def signature(*slots: Slot) -> Signature:
    return Signature(slots, ())


def test_token_ids_fill_masks_and_lengths_are_theirs() -> None:
    slots = tuple(
        Slot(name, torch.int64, (FREE, FREE), 16) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    fake: Any = SimpleNamespace(signature=signature(*slots), family=SimpleNamespace(core=None))
    ids, mask, kinds = read_sample({"kind": "numbers"}, b"[101, 7, 102]", fake)
    assert (ids.tolist(), mask.tolist(), kinds.tolist()) == ([[101, 7, 102]], [[1, 1, 1]], [[0, 0, 0]])
    with pytest.raises(InputError, match="17 numbers; allowed: 1 to 16"):
        read_sample({"kind": "numbers"}, json.dumps([1] * 17).encode(), fake)
    drawn = random_sample(signature(*slots), torch.nn.Embedding(5, 2), 1)
    assert drawn[0].shape == (1, 16)
    assert int(drawn[0].max()) < 5
    assert drawn[1].unique().tolist() == [1]
    with pytest.raises(InputError, match="does not take images"):
        read_sample({"kind": "pixels"}, b"", fake)


def test_answers_of_networks_without_classes_are_their_first_numbers_or_the_next_token() -> None:
    def told(output: torch.Tensor, task: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
        answer: Any = SimpleNamespace(outputs=(output,), compute_ms=1.0, queue_ms=0.0)
        core: Any = SimpleNamespace(task=task, class_names=names)
        return told_answer(answer, core)

    assert told(torch.tensor([[1.0, math.inf, 3.0]]), "similarity")["numbers"] == [1.0, None, 3.0]
    assert told(torch.zeros(1, 20), "similarity")["of"] == 20
    assert told(torch.tensor([[2.0, 1.0]]), "classification")["best"][0]["label"] == "class 0"
    assert told(torch.tensor([[2.0, 1.0]]), "classification", ("cat", "dog"))["best"][0]["label"] == "cat"
    assert told(torch.tensor([[math.nan, 1.0]]), "classification")["numbers"] == [None, 1.0]
    scores = torch.zeros(1, 4, 9)
    scores[0, -1, 7] = 5.0
    assert told(scores, "language")["best"][0]["label"] == "token 7"
