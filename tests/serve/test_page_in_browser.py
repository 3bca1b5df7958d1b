"""The page in a real browser: what people see, with hostile names, by keyboard, and as a screen reader has it."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.serve.browser import CHROMIUM, Browser
from tests.serve.hostile import IMAGE, SCRIPT, hostile_family
from tests.serve.subjects import POINTS, QUICK, TIMES_MS, family, inputs

from concertina.serve import Session
from concertina.serve.app import make_app
from concertina.serve.host import Host
from concertina.serve.server import bound

pytestmark = [pytest.mark.real, pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")]
READY = "document.querySelectorAll('#points-rows tr').length"
ANSWERED = "document.querySelectorAll('#sizes-rows tr').length"
ENTRY = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": inputs().flatten().tolist()}


@contextmanager
def serving(opening: Callable[[], Session], port: int = 0, name: str = "digits") -> Iterator[tuple[Host, str]]:
    """Give a host and its address, served from a thread."""
    host = Host(name, opening)
    listening = bound("127.0.0.1", port)
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(make_app(host), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        yield host, f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def opened(**changes: Any) -> Session:
    return Session(family(), replace(QUICK, **changes))


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    """Return a tab; each test goes to its own page in it."""
    with Browser() as made:
        yield made


def png(path: Path, side: int = 40) -> Path:
    """Write a picture that is black on the left and white on the right."""
    rows = (b"\0" + bytes(side // 2) + b"\xff" * (side // 2)) * side

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def drop(tab: Browser, path: Path) -> None:
    """Let go of a file over the page."""
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)


def test_an_image_is_dropped_and_the_dial_is_turned_by_keys(tab: Browser, tmp_path: Path) -> None:
    tab.events.clear()
    with serving(opened) as (_, address):
        tab.open(address)
        tab.until(READY)
        assert tab.run("document.title") == "digits · Concertina"
        drop(tab, png(tmp_path / "half.png"))
        tab.until(ANSWERED)
        left, right = tab.run(
            "(() => { const p = document.getElementById('seen').getContext('2d').getImageData(0, 0, 8, 8).data;"
            " return [p[16 * 4], p[23 * 4]] })()"
        )
        assert (left, right) == (0, 255)
        tab.run("document.getElementById('dial').focus()")
        seen = {}
        for point in reversed(POINTS):
            assert tab.run("document.getElementById('dial').getAttribute('aria-valuetext')").startswith(f"{point}, ")
            assert tab.text("tr[aria-current] th") == point
            assert len(tab.run("[...document.querySelectorAll('#plot .ring')].map(String)")) == 1
            seen[point] = tab.text("#sure")
            tab.press("ArrowLeft", 37)
        assert len(set(seen.values())) > 1, seen
        assert tab.run("document.getElementById('trouble').hidden")
        before = tab.text("#sizes-rows")
        tab.run("document.getElementById('invert').click()")
        tab.until(f"document.querySelector('#sizes-rows').textContent !== {before!r}")
        assert "half.png" in tab.text("#sample-name")
        tab.choose("#file", Path(__file__))
        tab.until("!document.getElementById('trouble').hidden")
        assert "no image that this browser can read" in tab.text("#trouble")
        tab.run("document.getElementById('numbers').value = '1, two'; document.getElementById('ask').click()")
        tab.until("document.getElementById('trouble').textContent === '“two” is no number.'")
        tab.run("document.getElementById('random').click()")
        tab.until("document.getElementById('numbers').value.split(',').length === 64")
        assert tab.run("document.getElementById('trouble').hidden")
        assert tab.complaints() == []
        assert [url for url in tab.requested() if not url.startswith(address)] == []


def test_live_figures_follow_the_traffic_and_a_new_session(tab: Browser) -> None:
    tab.events.clear()
    with serving(lambda: opened(latency_budget_ms=1000.0)) as (host, address):
        tab.open(address)
        tab.until(READY)
        tab.until("!document.getElementById('quiet').hidden")
        for point in ("p25", "p50", "p50"):
            path = f"{address}v2/models/digits/versions/{point}/infer"
            assert httpx.post(path, json={"inputs": [ENTRY]}).status_code == 200
        httpx.post(f"{address}v2/models/digits/infer", content=b"no")
        tab.until("document.getElementById('refused').textContent === '1'")
        cells = "[...document.querySelectorAll('#traffic-rows tr')].map(row => row.children[1].textContent)"
        assert tab.until(cells) == ["33.3%", "66.7%", "0%"]
        assert "default budget 1,000 ms" in tab.text("#p99-note")
        assert tab.text("#intime") == "100%"
        assert tab.run("document.querySelectorAll('#stack .area').length") == 3
        tab.run("document.getElementById('random').click()")
        tab.until(ANSWERED)
        requests = sum("page/try" in url for url in tab.requested())
        assert host.reload()
        tab.until(
            f"performance.getEntriesByType('resource').filter(e => e.name.includes('page/try')).length > {requests}"
        )
        assert tab.text("#state") == "Serving 3 sizes"
        assert tab.complaints() == []


def test_warming_up_and_a_server_that_goes_and_comes_back_are_told(tab: Browser) -> None:
    gate = threading.Event()

    def late() -> Session:
        gate.wait(30)
        return opened()

    with serving(late) as (_, address):
        tab.open(address)
        tab.until("document.getElementById('state').textContent.startsWith('Warming up')")
        assert tab.text("#name") == "digits"
        assert tab.run("[document.getElementById('main').hidden, document.getElementById('wait').hidden]") == [
            True,
            False,
        ]
        gate.set()
        tab.until("document.getElementById('state').textContent === 'Serving 3 sizes'")
    port = int(address.rstrip("/").rpartition(":")[2])
    tab.until("document.getElementById('state').textContent.startsWith('The server does not answer')")
    assert "up to" in tab.text("#traffic-title")
    with serving(opened, port) as _:
        tab.until("document.getElementById('state').textContent === 'Serving 3 sizes'", 40)
        assert tab.text("#traffic-title") == "Traffic, last two minutes"


def test_hostile_names_are_text(tab: Browser) -> None:
    tab.events.clear()
    times = {name: TIMES_MS[point] for name, point in zip((SCRIPT, IMAGE, "__proto__"), POINTS, strict=True)}
    with serving(lambda: Session(hostile_family(), replace(QUICK, times_ms=times)), name=SCRIPT) as (_, address):
        tab.open(address)
        tab.until(READY)
        tab.until("document.querySelector('#plot svg')")
        tab.run("document.getElementById('random').click()")
        tab.until(ANSWERED)
        infer = f"{address}v2/models/{SCRIPT.replace('/', '%2F')}/infer"
        with suppress(httpx.HTTPError):
            httpx.post(infer, json={"inputs": [ENTRY]})
        assert tab.text("#name") == SCRIPT
        assert SCRIPT in tab.text("#label")
        assert tab.text("#points-rows th bdi") == SCRIPT
        assert tab.run("document.querySelectorAll('body script, img, iframe').length") == 0
        assert tab.run("document.querySelectorAll('#plot script, #plot img').length") == 0
        time.sleep(0.2)
        assert tab.complaints() == []


def test_every_control_has_a_name_and_the_page_has_its_landmarks(tab: Browser) -> None:
    with serving(opened) as (_, address):
        tab.open(address)
        tab.until(READY)
        tab.run("document.getElementById('random').click()")
        tab.until(ANSWERED)
        nodes = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node]
    controls = (
        "button",
        "slider",
        "checkbox",
        "textbox",
        "combobox",
        "link",
        "image",
        "region",
        "table",
        "progressbar",
    )
    nameless = [role for role, name in named if role in controls and role != "table" and not name.strip()]
    assert nameless == []
    roles = [role for role, _ in named]
    assert {"main", "banner", "contentinfo", "slider", "status"} <= set(roles)
    assert next(name for role, name in named if role == "heading") == "digits"
    slider = next(node for node in nodes if node.get("role", {}).get("value") == "slider")
    told = {one["name"]: one["value"].get("value") for one in slider["properties"]}
    assert told["focusable"]
    assert "p100, 100% of the MACs: " in told["valuetext"]


CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const level = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const leftOut = 'button,select,input,noscript,svg title,svg desc';
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest(leftOut)) continue;
    const style = getComputedStyle(node);
    const [ink, paper] = [level(parts(node.closest('svg') ? style.fill : style.color)), level(behind(node))];
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.tagName} ${walker.currentNode.data.slice(0, 30)}`);
  }
  return found;
})()"""


def test_contrast_is_enough_by_day_and_by_night_and_nothing_is_wider_than_a_phone(tab: Browser) -> None:
    with serving(lambda: opened(latency_budget_ms=1000.0)) as (_, address):
        tab.open(address)
        tab.until(READY)
        tab.run("document.getElementById('random').click()")
        httpx.post(f"{address}v2/models/digits/infer", json={"inputs": [ENTRY]})
        tab.until("document.querySelector('#lines .line')")
        for dark in (False, True):
            tab.prefer(dark=dark)
            assert tab.run(CONTRAST) == [], dark
        tab.prefer(dark=False)
        tab.resize(360, 780, mobile=True)
        tab.until("document.documentElement.clientWidth <= 360")
        tab.until("Number(document.querySelector('#plot svg').getAttribute('width')) <= 360")
        assert tab.run("document.documentElement.scrollWidth") <= 360
        tab.resize(1280, 900)
