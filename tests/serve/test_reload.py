"""A new artifact under load: no request fails, and a broken one changes nothing."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.serve.subjects import QUICK, expected, family, inputs

from concertina.serve import Session
from concertina.serve.app import make_app
from concertina.serve.host import Host

REQUEST = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": inputs().flatten().tolist()}],
}


def test_a_new_file_takes_over_under_load_and_a_broken_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "digits.concertina"
    family().save(path)
    opened: list[Session] = []

    def opening() -> Session:
        opened.append(Session(path, replace(QUICK, queue_limit=1000)))
        return opened[-1]

    async def story() -> tuple[list[httpx.Response], list[bool]]:
        host, done = Host("digits", opening), []
        app = make_app(host)
        transport = httpx.ASGITransport(app)
        answers: list[httpx.Response] = []

        async def load(client: httpx.AsyncClient) -> None:
            while len(done) < 2 or len(answers) < 100:
                answers.append(await client.post("/v2/models/digits/infer", json=REQUEST))

        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as one:
            await asyncio.to_thread(host.wait, 60)
            asking = [asyncio.create_task(load(one)) for _ in range(8)]
            done.append(await asyncio.to_thread(host.reload))
            path.write_bytes(path.read_bytes()[:2000])
            done.append(await asyncio.to_thread(host.reload))
            await asyncio.gather(*asking)
            assert host.session is opened[1]
            metrics = (await one.get("/metrics")).text
            assert sum(host.session.counts.answers.values()) == len(answers)
            assert "concertina_ready 1" in metrics
        return answers, done

    with caplog.at_level(logging.WARNING, "concertina"):
        answers, done = asyncio.run(story())
    assert done == [True, False]
    assert len(opened) == 2
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) >= 100
    wanted = expected("p100", inputs())[0].tolist()
    full = [a.json()["outputs"][0]["data"] for a in answers if a.json()["model_version"] == "p100"]
    assert full
    assert all(found == pytest.approx(wanted, abs=1e-4) for found in full)
    assert "the new file is not served, the old one is: " in caplog.text


def test_nothing_is_reloaded_once_the_host_is_closed() -> None:
    host = Host("digits", lambda: Session(family(), QUICK))
    host.start()
    host.wait(60)
    host.close()
    assert not host.reload()
    assert not host.ready
