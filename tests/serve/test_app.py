"""The server spoken to in process: the protocol, its binary extension, what is refused, and figures."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.serve.subjects import POINTS, QUICK, expected, family, inputs, session

from concertina.errors import BusyError, LateError
from concertina.serve import Session
from concertina.serve.app import make_app
from concertina.serve.host import Host

INFER = "/v2/models/digits/infer"
LOG: list[str] = []


@pytest.fixture(scope="module")
def host() -> Host:
    """Return a host whose session is open and stays so."""
    made = Host("digits", session, LOG.append)
    made.start()
    assert made.wait(60)
    return made


application = cache(make_app)


def ask(host: Host, method: str, path: str, **more: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(application(host), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(once())


def body(samples: int = 1, **more: Any) -> dict[str, Any]:
    entry = {"name": "x", "datatype": "FP32", "shape": [samples, 1, 8, 8], "data": inputs(samples).flatten().tolist()}
    return {"inputs": [entry], **more}


def binary(samples: int = 1, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request whose input is bytes and whose output is wanted as such."""
    raw = inputs(samples).numpy().tobytes()
    entry = {
        "name": "x",
        "datatype": "FP32",
        "shape": [samples, 1, 8, 8],
        "parameters": {"binary_data_size": len(raw)},
    }
    header = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}, **more}).encode()
    return header + raw, {"Inference-Header-Content-Length": str(len(header))}


def test_health_and_metadata(host: Host) -> None:
    assert ask(host, "GET", "/v2").json()["extensions"] == ["binary_tensor_data", "schedule_policy", "subnet_policy"]
    assert ask(host, "GET", "/v2/health/live").json() == {"live": True}
    assert ask(host, "GET", "/v2/health/ready").json() == {"ready": True}
    told = ask(host, "GET", "/v2/models/digits").json()
    assert (told["versions"], told["platform"]) == (list(POINTS), "concertina_eager")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert told["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 10]}]
    assert [subnet["latency_ms"]["1"] for subnet in told["parameters"]["subnets"]] == [0.2, 0.3, 0.5]
    assert ask(host, "GET", "/v2/models/digits/versions/p50/ready").json() == {"name": "digits", "ready": True}


@pytest.mark.parametrize("version", ["", *POINTS])
def test_the_version_is_the_subnet_and_none_leaves_the_choice(host: Host, version: str) -> None:
    path = f"/v2/models/digits/versions/{version}/infer" if version else INFER
    told = ask(host, "POST", path, json=body(2, id="mine")).json()
    point = version or "p100"
    assert (told["model_name"], told["model_version"], told["id"]) == ("digits", point, "mine")
    assert told["outputs"][0]["shape"] == [2, 10]
    found = torch.tensor(told["outputs"][0]["data"]).reshape(2, 10)
    assert torch.allclose(found, expected(point, inputs(2)), atol=1e-5)
    assert told["parameters"]["subnet"] == point
    assert {"why", "queue_ms", "compute_ms", "predicted_ms", "in_time"} <= set(told["parameters"])


def test_bytes_in_and_bytes_out(host: Host) -> None:
    content, headers = binary(3, id="b-1")
    answer = ask(host, "POST", "/v2/models/digits/versions/p50/infer", content=content, headers=headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    told, raw = json.loads(answer.content[:length]), answer.content[length:]
    assert told["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}
    found = np.frombuffer(raw, np.float32).reshape(3, 10)
    assert np.allclose(found, expected("p50", inputs(3)).numpy(), atol=1e-5)
    assert answer.headers["X-Request-Id"] == "b-1"
    assert answer.headers["content-type"] == "application/octet-stream"


def test_one_output_as_bytes_and_nested_numbers_in(host: Host) -> None:
    request = body(2, outputs=[{"name": "output", "parameters": {"binary_data": True}}])
    request["inputs"][0]["data"] = inputs(2).tolist()
    answer = ask(host, "POST", INFER, json=request)
    assert len(answer.content) == int(answer.headers["Inference-Header-Content-Length"]) + 80


def test_numbers_that_json_does_not_know_come_as_null(host: Host) -> None:
    raw = np.full((1, 1, 8, 8), np.nan, np.float32).tobytes()
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = ask(host, "POST", INFER, content=header + raw, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [None] * 10


def test_parameters_steer_the_choice(host: Host) -> None:
    for parameters, point in (({"subnet": "p25"}, "p25"), ({"latency_budget_ms": 60_000, "priority": 1}, "p100")):
        told = ask(host, "POST", INFER, json=body(parameters=parameters)).json()
        assert told["model_version"] == point
    refused = ask(host, "POST", INFER, json=body(parameters={"latency_budget_ms": 0.001}))
    assert (refused.status_code, "is the fastest and takes" in refused.json()["error"]) == (400, True)
    refused = ask(host, "POST", INFER, json=body(parameters={"min_accuracy": 2}))
    assert (refused.status_code, "no point has an accuracy of 2" in refused.json()["error"]) == (400, True)


def changed(**entry: Any) -> dict[str, Any]:
    made = body()
    made["inputs"][0] |= entry
    return {"json": made}


def raw(size: Any = 256, length: str | None = None, content: bytes | None = None) -> dict[str, Any]:
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [entry]}).encode()
    sent = header + (bytes(256) if content is None else content)
    return {"content": sent, "headers": {"Inference-Header-Content-Length": length or str(len(header))}}


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"content": b""}, 400, "no JSON"),
    ({"content": b"[]"}, 400, "a JSON list"),
    ({"content": b'{"inputs": NaN}'}, 400, "NaN is no JSON"),
    ({"content": b"[" * 50_000}, 400, "no JSON"),
    ({"content": b"\xff\xfe\x00"}, 400, "no JSON"),
    ({"json": {}}, 400, "inputs: got a JSON NoneType"),
    ({"json": {"inputs": []}}, 400, "inputs: got 0 of them"),
    ({"json": {"inputs": [1]}}, 400, "inputs[0]: got a JSON int"),
    ({"json": body() | {"extra": 1}}, 400, "request: got 'extra'"),
    ({"json": body() | {"id": 5}}, 400, "id: got 5"),
    ({"json": body() | {"parameters": []}}, 400, "parameters: got a JSON list"),
    ({"json": body() | {"parameters": {"latency_budget": 5}}}, 400, "Did you mean 'latency_budget_ms'?"),
    ({"json": body() | {"parameters": {"timeout": 1.5}}}, 400, "timeout: got 1.5; allowed: a whole number of micro"),
    ({"json": body() | {"parameters": {"min_accuracy": 10**400}}}, 400, "min_accuracy: got 1000"),
    ({"json": body() | {"parameters": {"subnet": ["p50"]}}}, 400, "subnet: got ['p50']"),
    ({"json": body() | {"parameters": {"subnet": "p33"}}}, 404, "unknown subnet: got 'p33'"),
    ({"json": body() | {"parameters": {"module": "x"}}}, 400, "unknown module"),
    ({"json": body() | {"outputs": [{"name": "logits"}]}}, 400, "output: got 'logits'; allowed: each once of output"),
    ({"json": body() | {"outputs": [{"name": "output", "parameters": {"binary_data": 1}}]}}, 400, "binary_data: got 1"),
    (changed(name="y"), 400, "input: got 'y'"),
    (changed(name=["x"]), 400, "input: got ['x']"),
    (changed(datatype="FP64"), 400, "datatype of input 'x': got 'FP64'; allowed: FP32"),
    (changed(datatype={}), 400, "datatype of input 'x'"),
    (changed(shape=[10**15, 1, 8, 8]), 400, "shape of input 'x'"),
    (changed(shape=[-1, 1, 8, 8]), 400, "shape of input 'x': got [-1, 1, 8, 8]; allowed: [1 to 8, 1, 8, 8]"),
    (changed(shape=[True, 1, 8, 8]), 400, "shape of input 'x'"),
    (changed(shape="1188"), 400, "shape of input 'x'"),
    (changed(shape=[1] * 10_000), 400, "shape of input 'x'"),
    (changed(data=[1.0]), 400, "data of input 'x': got lists of other lengths"),
    (changed(data="1" * 64), 400, "data of input 'x'"),
    (changed(data=["1"] * 64), 400, "data of input 'x': got str values; allowed: numbers"),
    (changed(data=[None] * 64), 400, "got NoneType values"),
    (changed(data=[1e300] * 64), 400, "numbers out of range; allowed: those of FP32"),
    (changed(data=[10**500] * 64), 400, "numbers out of range"),
    (changed(data=[[[[1.0] * 8] * 8, []]]), 400, "lists of other lengths"),
    (changed(parameters={"binary_data_size": 256}), 400, "both data and binary_data_size"),
    ({"json": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8]}]}}, 400, "got no data"),
    (raw(size=255), 400, "binary_data_size of input 'x': got 255; allowed: 256, as its shape says"),
    (raw(size="256"), 400, "binary_data_size"),
    (raw(content=bytes(255)), 400, "bytes after the JSON: got 255; allowed: 256"),
    (raw(content=bytes(300)), 400, "bytes after the JSON: got 300"),
    *(
        (raw(length=text), 400, "HTTP header Inference-Header-Content-Length")
        for text in ("-1", "99999", "x", "9" * 40)
    ),
    (raw(length="10"), 400, "no JSON"),
    *(
        (raw(length=text), 400, "HTTP header Inference-Header-Content-Length")
        for text in ("+10", "1_0", "0x10", "1e2", "10.0", "-0")
    ),
    *((raw(size=size), 400, "binary_data_size") for size in (10**30, -256, 256.0, True, [256])),
    (changed(shape=[2**62, 4]), 400, "shape of input 'x'"),
    (changed(shape=[2**62, 1, 8, 8]), 400, "shape of input 'x'"),
    (changed(shape=[10**400, 1, 8, 8]), 400, "shape of input 'x'"),
    (changed(shape=[1.0, 1, 8, 8]), 400, "shape of input 'x'"),
    ({"json": {"inputs": [body()["inputs"][0]] * 2}}, 400, "inputs: got 2 of them"),
    ({"json": body() | {"outputs": [{"name": "output"}] * 2}}, 400, "outputs: got 2 of them"),
    ({"content": json.dumps(body(parameters={"subnet": "\ud800"})).encode()}, 404, "unknown subnet: got '\\ud800'"),
    ({"json": body() | {"id": "x" * 257}}, 400, "id: got"),
    ({"content": b'{"inputs": -Infinity}'}, 400, "-Infinity is no JSON"),
    ({"content": b'{"inputs": 1' + b"0" * 5000 + b"}"}, 400, "no JSON"),
    ({"content": b'{"a":' * 10_000}, 400, "no JSON"),
    ({"content": json.dumps(body()).replace("inputs", "\x00", 1).encode()}, 400, "no JSON"),
    ({"content": b'{"inputs": [], "parameters": {"latency_budget_ms": 1e400}}'}, 400, "inputs: got 0 of them"),
    ({"json": body() | {"parameters": {"priority": 10**30}}}, 400, "priority: got 1000"),
    ({"json": body() | {"parameters": {"timeout": 2**63}}}, 400, "timeout: got 9223372036854775808"),
    ({"json": body(), "headers": {"Content-Encoding": "gzip"}}, 400, "Content-Encoding"),
    ({"content": bytes(100_000)}, 413, "body of the request: got 100,000 bytes"),
]


@pytest.mark.parametrize(("sent", "status", "words"), WRONG)
def test_what_is_wrong_is_refused_by_name(host: Host, sent: dict[str, Any], status: int, words: str) -> None:
    answer = ask(host, "POST", INFER, **sent)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert len(answer.content) < 1000


def test_an_id_that_fits_no_header_is_told_in_the_body_alone(host: Host) -> None:
    answer = ask(host, "POST", INFER, content=json.dumps(body(id="\ud800\n")).encode())
    assert (answer.status_code, answer.json()["id"]) == (200, "\ud800\n")
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_who_leaves_before_the_body_is_there_gets_nothing_and_breaks_nothing(host: Host) -> None:
    async def leave() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": INFER, "headers": [], "query_string": b""}
        await application(host)(scope, receive, send)
        return sent

    assert asyncio.run(leave()) == []
    assert ask(host, "POST", INFER, json=body()).status_code == 200


def test_a_fault_of_the_server_is_told_without_a_traceback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(host, "log_answer", broken)
    answer = ask(host, "POST", INFER, json=body())
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error: RuntimeError"})


def test_other_methods_and_a_version_in_the_query_are_not_taken_for_a_request(host: Host) -> None:
    assert ask(host, "GET", INFER).status_code == 405
    assert ask(host, "POST", f"{INFER}?version=p25", json=body()).json()["model_version"] == "p100"


def test_a_body_without_a_stated_length_is_stopped_too(host: Host) -> None:
    async def endless() -> Any:
        while True:
            yield bytes(10_000)

    assert ask(host, "POST", INFER, content=endless()).status_code == 413


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/other", "unknown model: got 'other'; allowed: digits"),
        ("/v2/models/digits/versions/p33", "unknown version: got 'p33'; allowed: p25, p50, p100"),
        ("/v2/models/digits/versions/p33/ready", "unknown version"),
        ("/v2/nothing", "Not Found"),
    ],
)
def test_what_is_not_there_is_a_404(host: Host, path: str, words: str) -> None:
    answer = ask(host, "GET", path)
    assert (answer.status_code, words in answer.json()["error"]) == (404, True)


def test_figures_have_queue_and_compute_apart_and_the_log_has_one_line_a_request(host: Host) -> None:
    LOG.clear()
    ask(host, "POST", INFER, json=body(), headers={"X-Request-Id": "r-7"})
    ask(host, "POST", INFER, content=b"no")
    lines = [json.loads(line) for line in LOG]
    assert [line["status"] for line in lines] == [200, 400]
    assert (lines[0]["id"], lines[0]["subnet"]) == ("r-7", "p100")
    assert lines[0]["total_ms"] >= lines[0]["compute_ms"]
    text = ask(host, "GET", "/metrics").text
    for name in ("queue_seconds", "compute_seconds"):
        assert re.search(rf'^concertina_{name}_bucket{{subnet="p100",le="\+Inf"}} \d+$', text, re.MULTILINE)
        assert re.search(rf'^concertina_{name}_sum{{subnet="p100"}} \d\.?\d*(e-\d+)?$', text, re.MULTILINE)
    assert re.search(r'^concertina_requests_total{subnet="p100",in_time="true"} \d+$', text, re.MULTILINE)
    assert "\nconcertina_ready 1\n" in text


def test_ready_after_warming_up_only_and_drained_at_the_end() -> None:
    gate = threading.Event()

    async def story() -> list[Any]:
        seen: list[Any] = []

        def opening() -> Session:
            gate.wait(30)
            return Session(family(), QUICK)

        host = Host("digits", opening)
        app = make_app(host)
        async with served(app) as client:
            seen += [
                (await client.get("/v2/health/live")).status_code,
                (await client.get("/v2/health/ready")).status_code,
            ]
            early = await client.post(INFER, json=body())
            seen += [early.status_code, early.headers["Retry-After"]]
            gate.set()
            await asyncio.to_thread(host.wait, 60)
            seen += [(await client.get("/v2/health/ready")).status_code]
            waiting = [asyncio.create_task(client.post(INFER, json=body())) for _ in range(20)]
            await asyncio.gather(*waiting)
            seen += [{task.result().status_code for task in waiting}]
        return [*seen, host.ready]

    assert asyncio.run(story()) == [200, 503, 503, "1", 200, {200}, False]


@asynccontextmanager
async def served(app: Any) -> Any:
    """Give a client of an application that is started before and ended after."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


def test_a_full_queue_is_a_503_that_says_when_to_come_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_inputs: Any, **_request: Any) -> Any:
        raise BusyError("too much work is ahead", retry_after_s=2.2)

    def late(*_inputs: Any, **_request: Any) -> Any:
        raise LateError("timeout of the request")

    monkeypatch.setattr(session(), "submit", full)
    answer = ask(host, "POST", INFER, json=body())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    monkeypatch.setattr(session(), "submit", late)
    assert ask(host, "POST", INFER, json=body()).status_code == 504


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("inputs", "outputs", "parameters", "id")
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y"]) | JSONS,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | JSONS,
        "shape": st.sampled_from([[1, 1, 8, 8], [2, 1, 8, 8], [0], [-1, 1, 8, 8]]) | JSONS,
        "data": st.just([0.5] * 64) | JSONS,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.sampled_from([256, 512, 0, -4, 10**30]) | JSONS}),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(ENTRY, max_size=2) | JSONS},
    optional={
        "outputs": st.lists(st.fixed_dictionaries({"name": st.just("output") | JSONS}), max_size=2) | JSONS,
        "parameters": st.dictionaries(
            st.sampled_from(["latency_budget_ms", "min_accuracy", "subnet", "module", "priority", "timeout"]), JSONS
        ),
        "id": JSONS,
    },
)


@given(st.data())
def test_hostile_framing_never_breaks_the_server(host: Host, data: st.DataObject) -> None:
    header = data.draw(st.binary(max_size=64) | REQUESTS.map(lambda made: json.dumps(made).encode()))
    rest = data.draw(st.sampled_from([b"", bytes(256), bytes(512)]) | st.binary(max_size=64))
    length = data.draw(
        st.just(str(len(header)))
        | st.integers(-10, 1000).map(str)
        | st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=8)
    )
    headers = [(b"inference-header-content-length", length.encode("latin-1"))]
    answer = ask(host, "POST", INFER, content=header + rest, headers=headers)
    assert answer.status_code in (200, 400, 404, 413, 503, 504), answer.text
    assert ("outputs" if answer.status_code == 200 else "error") in answer.text
