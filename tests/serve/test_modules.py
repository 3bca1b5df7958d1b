"""Modules over HTTP: the metadata says what they are, and with "auto" the router chooses one for each sample."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch
from tests.serve.subjects import QUICK
from tests.serve.subjects import family as plain_family
from torch import Tensor

import concertina as ct
from concertina.errors import InputError
from concertina.load.data import ArrayData
from concertina.serve import Session
from concertina.serve.app import make_app
from concertina.serve.host import Host


@pytest.fixture(scope="module")
def mixed() -> Tensor:
    """Return four samples: two of the core's own domain, and two of another."""
    held = ct.open_data("zoo:digits@test", preprocess=ct.load("zoo:mlp").preprocess)
    return torch.cat([held.inputs[:1], -held.inputs[1:3], held.inputs[3:4]])


@pytest.fixture(scope="module")
def opened() -> Iterator[Session]:
    """Return a session over a family with a module for dark digits, one with classes of its own, and a router."""
    core = ct.load("zoo:mlp")
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess, class_names=core.class_names)
    owner = ct.fit(core, data, data, points=(0.25, 0.5), epochs=0)
    owner.adapt("dark", ArrayData((-data.inputs, data.labels), data.class_names), kind="affine", learning_rate=0.05)
    owner.adapt("bright", ArrayData((data.inputs + 9, data.labels % 2), ("even", "odd")), epochs=0.2)
    owner.route_base(data)
    with Session(owner, QUICK) as made:
        yield made


async def asked(session: Session, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    """Return what the server says to a request."""
    host = Host("digits", lambda: session)
    host.start()
    host.wait()
    transport = httpx.ASGITransport(make_app(host))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await (client.get(path) if body is None else client.post(path, json=body))


def request(given: Tensor, **parameters: Any) -> dict[str, Any]:
    entry = {"name": "x", "datatype": "FP32", "shape": list(given.shape), "data": given.flatten().tolist()}
    return {"inputs": [entry], "parameters": parameters}


def test_the_metadata_says_what_each_module_is_and_between_which_the_router_chooses(opened: Session) -> None:
    told = asyncio.run(asked(opened, "/v2/models/digits")).json()["parameters"]
    assert told["modules"] == ["dark", "bright"]
    dark, bright = told["module_details"]
    assert (dark["name"], dark["request"], dark["domain"], dark["kinds"]) == ("dark", "dark", "dark", ["affine"])
    assert (dark["merges"], dark["own_classes"], len(dark["class_names"])) == (True, False, 10)
    assert dark["size_bytes"] == opened.family.modules["dark"].size_bytes
    assert (bright["kinds"], bright["own_classes"], bright["merges"]) == (["lora", "head"], True, False)
    assert bright["class_names"] == ["even", "odd"]
    assert told["module_auto"] == ["dark", "bright", "__base__"]


def test_with_auto_every_sample_is_answered_with_the_module_that_the_router_chose(
    opened: Session, mixed: Tensor
) -> None:
    answer = asyncio.run(asked(opened, "/v2/models/digits/infer", request(mixed, module="auto", subnet="p50"))).json()
    assert answer["parameters"]["modules"] == "__base__,dark,dark,__base__"
    found = torch.tensor(answer["outputs"][0]["data"]).reshape(4, 10)
    owner = opened.family
    with torch.inference_mode():
        plain, dark = owner.view("p50")(mixed), owner.with_modules("p50", "dark")(mixed)
    assert torch.allclose(found, torch.stack([plain[0], dark[1], dark[2], plain[3]]), atol=1e-4)
    assert not torch.allclose(plain[1], dark[1], atol=1e-3)


def test_requests_that_are_computed_together_are_told_their_own_modules(opened: Session, mixed: Tensor) -> None:
    answers = [opened.submit(mixed[part], module="auto", subnet="p50") for part in (slice(0, 2), slice(2, 4))]
    assert [future.result(20).modules for future in answers] == [("__base__", "dark"), ("dark", "__base__")]
    assert opened.infer(mixed[:1], module="dark").modules == ()


def test_a_choice_that_cannot_be_is_refused_by_name(opened: Session, mixed: Tensor) -> None:
    two = torch.cat([mixed[1:2], mixed[:1] + 9])
    with pytest.raises(InputError, match="'auto', which chose dark, bright; allowed: modules with outputs of one size"):
        opened.infer(two, module="auto")
    assert opened.infer(two[1:], module="auto").outputs[0].shape == (1, 2)
    for words, said in (("auto,dark", "module"), ("dark,auto", "module")):
        with pytest.raises(InputError, match=said):
            opened.infer(mixed, module=words)


def test_without_modules_there_is_no_choice() -> None:
    with Session(plain_family(), QUICK) as session:
        told = asyncio.run(asked(session, "/v2/models/digits")).json()["parameters"]
        assert (told["modules"], told["module_details"], told["module_auto"]) == ([], [], [])
        refused = asyncio.run(
            asked(session, "/v2/models/digits/infer", request(torch.zeros(1, 1, 8, 8), module="auto"))
        )
    assert refused.status_code == 400
    assert "'auto', but no module knows its domain; allowed: none: the file has no modules" in refused.json()["error"]


def test_a_module_that_cannot_be_read_is_told_and_the_rest_too(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = opened.family.modules

    def damaged(self: Any, name: str) -> Any:
        if name == "bright":
            raise InputError("module 'bright'", asked="damaged")
        return read(self, name)

    read = type(held).__getitem__
    monkeypatch.setattr(type(held), "__getitem__", damaged)
    told = asyncio.run(asked(opened, "/v2/models/digits")).json()["parameters"]
    assert [each.get("error", "") for each in told["module_details"]] == ["", "module 'bright': got damaged."]
    assert told["module_auto"] == []
