"""The server against its own description: whatever that allows or forbids, an answer of a described kind comes back."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serve.subjects import POINTS, QUICK, family

from concertina.serve.app import make_app
from concertina.serve.binary import DATATYPES
from concertina.serve.host import Host
from concertina.serve.protocol import PARAMETERS
from concertina.serve.session import Session

schemathesis = pytest.importorskip("schemathesis")

ERRORS = {400, 404, 405, 413, 503, 504}
DRAWN = settings(suppress_health_check=list(HealthCheck), deadline=None)


@cache
def application() -> Any:
    """Return the application over a session of its own: who tries it lives through its end too."""
    host = Host("digits", lambda: Session(family(), QUICK))
    host.start()
    assert host.wait(60)
    return make_app(host)


@cache
def description() -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", application())


@cache
def operations() -> dict[str, Any]:
    """Return path -> its one operation."""
    return {found.ok().path: found.ok() for found in description().get_all_operations()}


def infer_schema() -> dict[str, Any]:
    return application().openapi()["components"]["schemas"]["InferRequest"]


def test_every_route_says_what_it_takes_and_gives() -> None:
    told = application().openapi()
    assert len(told["paths"]) == 10
    for path, methods in told["paths"].items():
        for method in methods.values():
            assert method["summary"], path
            assert method["responses"]["200"]["content"], path
            assert {int(status) for status in method["responses"]} <= {200, *ERRORS}, path
    infer = told["paths"]["/v2/models/{model}/infer"]["post"]
    assert set(infer["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
    assert {one["name"] for one in infer["parameters"]} == {"model", "Inference-Header-Content-Length", "X-Request-Id"}
    assert {"200", "400", "404", "413", "503", "504"} <= set(infer["responses"])
    assert "Retry-After" in infer["responses"]["503"]["headers"]


def test_the_described_request_is_the_one_that_is_read() -> None:
    schema = infer_schema()
    assert set(schema["properties"]) == {"id", "parameters", "inputs", "outputs"}
    assert set(schema["properties"]["parameters"]["properties"]) == set(PARAMETERS)
    assert schema["properties"]["inputs"]["items"]["properties"]["datatype"]["enum"] == list(DATATYPES)


def check_answer(case: Any) -> None:
    """Send a request and hold its answer against the description."""
    from schemathesis.specs.openapi import checks

    answer = case.call()
    assert answer.status_code in {200, *ERRORS}, (answer.status_code, answer.text[:300])
    kept = (checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance)
    case.validate_response(answer, checks=list(kept))


def check_one(data: st.DataObject) -> None:
    modes = schemathesis.GenerationMode
    operation = data.draw(st.sampled_from(sorted(operations())).map(operations().__getitem__))
    case = data.draw(
        operation.as_strategy(generation_mode=data.draw(st.sampled_from([modes.POSITIVE, modes.NEGATIVE])))
    )
    if data.draw(st.integers(0, 3)):  # a model of another name is refused before anything else is looked at
        known = {"model": "digits", "version": data.draw(st.sampled_from(POINTS))}
        case.path_parameters = {name: known[name] for name in case.path_parameters}
    if isinstance(case.body, dict) and case.body.get("inputs") and data.draw(st.booleans()):
        entry = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
        case.body["inputs"] = [entry]
    check_answer(case)


@DRAWN
@given(st.data())
def test_whatever_is_sent_the_answer_is_of_a_described_kind(data: st.DataObject) -> None:
    check_one(data)


@pytest.mark.slow
@settings(DRAWN, max_examples=1000)
@given(st.data())
def test_whatever_is_sent_for_long_the_answer_is_of_a_described_kind(data: st.DataObject) -> None:
    check_one(data)
