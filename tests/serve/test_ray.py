"""A family behind Ray Serve: what is handed to Ray, a replica without Ray, and (slow) a cluster on this machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.subjects import QUICK, expected, family, inputs

from concertina.errors import ExtraError, FormatError, InputError
from concertina.serve import Settings
from concertina.serve.ray import Forward, Replica, application, deployment
from concertina.serve.server import bound

ENTRY = {"name": "x", "datatype": "FP32", "shape": [2, 1, 8, 8]}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the family."""
    made = tmp_path_factory.mktemp("ray") / "digits.concertina"
    family().save(made)
    return made


class FakeServe(ModuleType):
    """Ray Serve as far as it is used, keeping what it was given."""

    replica: Any = None

    def get_replica_context(self) -> SimpleNamespace:
        return SimpleNamespace(servable_object=self.replica)

    def ingress(self, app: object) -> Callable[[type], type]:
        return lambda kind: type("Web", (kind,), {"app": app})

    def deployment(self, kind: type, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(bind=lambda *given: SimpleNamespace(kind=kind, options=options, given=given))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    made = FakeServe("ray.serve")
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setitem(sys.modules, "ray.serve", made)
    return made


def test_options_are_handed_on_and_the_usual_ones_follow_the_settings(fake: FakeServe, path: Path) -> None:
    plain = deployment(path)
    assert plain.given == (str(path), "digits", Settings())
    assert plain.options == {
        "name": "concertina",
        "max_ongoing_requests": 256,
        "graceful_shutdown_timeout_s": 30.0,
        "ray_actor_options": {"num_cpus": 1},
    }
    scaled = {"min_replicas": 1, "max_replicas": 4}
    asked = deployment(path, name="net", settings=Settings(threads=2), autoscaling_config=scaled, name_of="x")
    assert asked.given[1:] == ("net", Settings(threads=2))
    assert (asked.options["autoscaling_config"], asked.options["name_of"]) == (scaled, "x")
    assert asked.options["ray_actor_options"] == {"num_cpus": 2}
    far = deployment("https://models.example/a/digits.concertina?x=1")
    assert far.given[:2] == ("https://models.example/a/digits.concertina?x=1", "digits")


def test_arguments_of_a_config_file_become_settings(fake: FakeServe, path: Path) -> None:
    made = application(
        {"file": str(path), "name": "net", "replicas": "2", "threads": "1", "floor": "accuracy>=0.1", "max_batch": 4}
        | {"latency_budget_ms": "20", "runtime": "onnx"}
    )
    wanted = Settings("onnx", threads=1, max_batch=4, floor=("accuracy>=0.1",), latency_budget_ms=20.0)
    assert (made.given, made.options["num_replicas"]) == ((str(path), "net", wanted), 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "argument file: got none"),
        ({"file": "none.concertina"}, "family file 'none.concertina': got no such file"),
        ({"file": "", "thread": "1"}, "argument file"),
        ({"file": "FILE", "thread": "1"}, "Did you mean 'threads'"),
        ({"file": "FILE", "threads": "two"}, "argument threads: got 'two'; allowed: a number"),
        ({"file": "FILE", "max_batch": "0"}, "setting max_batch: got 0"),
    ],
)
def test_wrong_arguments_are_one_clear_message(given: dict[str, str], said: str, fake: FakeServe, path: Path) -> None:
    with pytest.raises(InputError, match=said):
        application({key: str(path) if value == "FILE" else value for key, value in given.items()})


def test_a_file_that_is_cut_and_a_missing_package_are_refused_before_ray_is_asked(
    fake: FakeServe, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "digits.concertina"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"digits\.concertina. is not whole\. Get the rest"):
        deployment(cut)
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(ExtraError, match=r'Ray Serve is not installed.*pip install "concertina-nn\[ray\]"'):
        deployment(path)


def test_a_replica_answers_what_is_forwarded_to_it_is_healthy_and_ends_in_peace(fake: FakeServe, path: Path) -> None:
    fake.replica = replica = Replica(str(path), "digits", QUICK)

    async def asked() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Forward()), base_url="http://ray") as client:
            body = {"inputs": [ENTRY | {"data": inputs(2).flatten().tolist()}]}
            return await client.get("/v2/health/ready"), await client.post("/v2/models/digits/infer", json=body)

    ready, answer = asyncio.run(asked())
    replica.check_health()
    assert (ready.json(), answer.json()["model_version"]) == ({"ready": True}, "p100")
    wanted = expected("p100", inputs(2)).flatten().tolist()
    assert np.allclose(answer.json()["outputs"][0]["data"], wanted, atol=1e-5)
    replica.__del__()
    with pytest.raises(RuntimeError, match="the session is closed"):
        replica.check_health()


def test_start_and_end_of_the_web_application_are_answered() -> None:
    said: list[str] = []

    async def lived() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            return {"type": next(messages)}

        async def send(message: Any) -> None:
            said.append(message["type"])

        await Forward()({"type": "lifespan"}, receive, send)

    asyncio.run(lived())
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_replica_that_cannot_open_its_file_says_why(tmp_path: Path) -> None:
    wrong = tmp_path / "x.concertina"
    wrong.write_bytes(b"nothing of ours")
    with pytest.raises(FormatError, match=r"x\.concertina"):
        Replica(str(wrong), "x", QUICK)


@pytest.mark.slow
def test_a_cluster_on_this_machine_speaks_the_protocol(path: Path) -> None:
    ray, serve = pytest.importorskip("ray"), pytest.importorskip("ray.serve")
    with bound("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    options = {"log_to_driver": False, "include_dashboard": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, object_store_memory=100 * 2**20, **options)
    try:
        serve.start(http_options={"port": port})
        serve.run(deployment(path, settings=QUICK, health_check_period_s=1.0))
        base = f"http://127.0.0.1:{port}/v2"
        assert httpx.get(f"{base}/health/ready").json() == {"ready": True}
        body = {"inputs": [ENTRY | {"data": inputs(2).flatten().tolist()}]}
        for version in ("", "/versions/p25"):
            answer = httpx.post(f"{base}/models/digits{version}/infer", json=body, timeout=60).json()
            wanted = expected(answer["model_version"], inputs(2)).flatten().tolist()
            assert np.allclose(answer["outputs"][0]["data"], wanted, atol=1e-5)
        assert httpx.get(f"{base}/models/digits/versions/p33").status_code == 404
        assert httpx.post(f"{base}/models/digits/infer", content=b"{").status_code == 400
        assert serve.status().applications["default"].deployments["concertina"].status == "HEALTHY"
    finally:
        serve.shutdown()
        ray.shutdown()
