"""A server whose file is still on its way: it answers from the first subnet on, and no request fails for the growth."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.save.range_server import Content, held, serving, status
from tests.serve.subjects import POINTS, QUICK, expected, family, inputs
from tests.serve.test_client import served

from concertina.cli import main
from concertina.save import HttpSource
from concertina.serve.app import make_app
from concertina.serve.arriving import Arriving
from concertina.serve.host import Host

ENTRY = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": inputs().flatten().tolist()}
MODEL = "/v2/models/digits"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of the family's file, of which the first request brings p25 and not all of p50."""
    path = tmp_path_factory.mktemp("arriving") / "digits.concertina"
    family().save(path)
    return path.read_bytes()


@asynccontextmanager
async def arriving(address: str) -> AsyncIterator[tuple[httpx.AsyncClient, Host]]:
    """Give a client of a server of this address that is ready, and its host."""
    coming = Arriving(HttpSource(address), address, QUICK)
    host = Host("digits", coming.open)
    app = make_app(host)
    async with app.router.lifespan_context(app):
        coming.follow(host)
        await asyncio.to_thread(host.wait, 60)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
            yield client, host
    coming.close()


async def ask(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post(f"{MODEL}/infer", json={"inputs": [ENTRY], **more})


async def metadata(client: httpx.AsyncClient, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the metadata once it is as wanted."""
    for _ in range(1000):
        found: dict[str, Any] = (await client.get(MODEL)).json()
        if until(found):
            break
        await asyncio.sleep(0.01)
    return found


def test_it_answers_from_the_smallest_point_and_grows_without_a_failed_request(data: bytes) -> None:
    gate = threading.Event()
    content = Content(data, faults=[None, held(gate)])

    async def story() -> list[httpx.Response]:
        async with arriving(address) as (client, host):
            answers = [await ask(client)]
            told = (await client.get(MODEL)).json()
            assert told["versions"] == ["p25"]
            assert told["parameters"]["arriving"] == {"bytes": 65_536, "of": len(data), "to_come": ["p50", "p100"]}
            assert (await client.get(f"{MODEL}/versions/p50")).status_code == 404
            refused = await ask(client, parameters={"module": "news"})
            assert (refused.status_code, "modules come last" in refused.text) == (400, True)
            gate.set()
            while answers[-1].json()["model_version"] != "p100" and len(answers) < 5000:
                answers.append(await ask(client))
            told = await metadata(client, lambda found: found["versions"] == list(POINTS))
            assert told["versions"] == list(POINTS)
            assert told["parameters"]["arriving"] == {"bytes": len(data), "of": len(data), "to_come": []}
            assert "unknown module" in (await ask(client, parameters={"module": "news"})).text
            assert host.session is not None
            assert host.session.family.records
            return answers

    with serving(content) as address:
        answers = asyncio.run(story())
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers[:: max(1, len(answers) // 20)] + answers[-1:]:
        found = answer.json()
        wanted = expected(found["model_version"], inputs())[0].tolist()
        assert found["outputs"][0]["data"] == pytest.approx(wanted, abs=1e-4)


def test_where_the_rest_does_not_come_it_serves_on_and_says_so(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    content = Content(data, faults=[None, None, status(404)])

    async def story() -> None:
        async with arriving(address) as (client, host):
            told = await metadata(client, lambda found: "error" in found["parameters"]["arriving"])
            assert told["versions"] == ["p25", "p50"]
            assert told["parameters"]["arriving"]["to_come"] == ["p100"]
            assert "status 404 (Not Found)" in told["parameters"]["arriving"]["error"]
            assert (await ask(client)).json()["model_version"] == "p50"
            assert await asyncio.to_thread(host.reload)
            told = (await client.get(MODEL)).json()
            assert told["versions"] == list(POINTS)
            assert "error" not in told["parameters"]["arriving"]
            assert (await ask(client)).json()["model_version"] == "p100"

    with serving(content) as address, caplog.at_level(logging.WARNING, "concertina"):
        asyncio.run(story())
    assert "the rest of the file did not come, what is there is served on: address 'http://127" in caplog.text


def test_the_verb_takes_an_address(data: bytes) -> None:
    gate = threading.Event()
    with serving(Content(data, faults=[None, held(gate)])) as address, served(address) as (process, at):
        base = f"http://{at}/v2/models/family"
        assert httpx.get(base).json()["versions"] == ["p25"]
        assert httpx.post(f"{base}/infer", json={"inputs": [ENTRY]}).json()["model_version"] == "p25"
        gate.set()
        while httpx.get(base).json()["versions"] != list(POINTS):
            assert process.poll() is None
        process.terminate()
        _, log = process.communicate(timeout=30)
        assert (process.returncode, "Traceback" in log) == (0, False)


def test_the_verb_tells_what_is_wrong_with_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Content(b"", faults=[status(404)])) as address:
        assert main(["serve", address, "--port", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: address 'http://127.0.0.1:" in captured.err
    assert "status 404 (Not Found)" in captured.err
