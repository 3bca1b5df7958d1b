"""The server as a process of its own, spoken to by a public client of the protocol, and ended by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.subjects import POINTS, expected, family, inputs

from concertina.cli import main
from concertina.serve.server import bound


@contextmanager
def served(path: Path | str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Give a running server of a file, and its address; it is killed afterwards if need be."""
    words = [sys.executable, "-m", "concertina", "serve", str(path), "--port", "0", "--json", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        text = ""
        while process.stdout is not None and not text.endswith("}\n") and (line := process.stdout.readline()):
            text += line
        yield process, json.loads(text)["url"].removeprefix("http://").partition("/")[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the family."""
    made = tmp_path_factory.mktemp("served") / "digits.concertina"
    family().save(made)
    return made


def test_a_public_client_understands_the_server_and_sigterm_ends_it_in_peace(path: Path) -> None:
    client_of = pytest.importorskip("tritonclient.http")
    with served(path) as (process, address):
        client = client_of.InferenceServerClient(address)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits", "p50")
        assert client.get_server_metadata()["name"] == "concertina"
        assert client.get_model_metadata("digits")["versions"] == list(POINTS)
        for binary in (True, False):
            for version in ("", *POINTS):
                found = ask(client_of, client, version, binary)
                assert np.allclose(found, expected(version or "p100", inputs(2)).numpy(), atol=1e-5)
        with pytest.raises(client_of.InferenceServerException, match="unknown version: got 'p33'"):
            ask(client_of, client, "p33", True)
        assert taken_before_sigterm(process, f"http://{address}/v2/models/digits/infer").status_code == 200
        out, log = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["status"] for line in lines] == [200] * 8 + [404, 200]
    assert {line.get("subnet") for line in lines[:8]} == set(POINTS)


def test_a_server_process_answers_counts_what_it_refuses_and_sigterm_ends_it_in_peace(path: Path) -> None:
    with served(path) as (process, address):
        base = f"http://{address}/v2/models/digits"
        assert httpx.get(f"http://{address}/v2/health/ready", timeout=60).status_code == 200
        assert "<title>Concertina</title>" in httpx.get(f"http://{address}/", timeout=60).text
        entry = {"name": "x", "datatype": "FP32", "shape": [2, 1, 8, 8], "data": inputs(2).flatten().tolist()}
        for version in ("", *(f"/versions/{point}" for point in POINTS)):
            answer = httpx.post(f"{base}{version}/infer", json={"inputs": [entry]}, timeout=60).json()
            wanted = expected(answer["model_version"], inputs(2)).flatten().tolist()
            assert np.allclose(answer["outputs"][0]["data"], wanted, atol=1e-5)
        assert httpx.post(f"{base}/infer", content=b"{", timeout=60).status_code == 400
        assert httpx.get(f"{base}/versions/p33", timeout=60).status_code == 404
        counted = httpx.get(f"http://{address}/metrics", timeout=60).text
        assert 'concertina_http_refused_total{status="400"} 1' in counted
        assert 'concertina_http_refused_total{status="404"} 1' in counted
        assert taken_before_sigterm(process, f"{base}/infer").status_code == 200
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")


def taken_before_sigterm(process: subprocess.Popen[str], url: str) -> httpx.Response:
    """Return the answer to a request during which the server is told to end."""
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
    content = json.dumps({"inputs": [entry]}).encode()

    def slowly() -> Iterator[bytes]:
        yield content[:40]
        process.send_signal(signal.SIGTERM)
        yield content[40:]

    return httpx.post(url, content=slowly(), timeout=60)


def ask(client_of: Any, client: Any, version: str, binary: bool) -> np.ndarray[Any, Any]:
    given = client_of.InferInput("x", [2, 1, 8, 8], "FP32")
    given.set_data_from_numpy(inputs(2).numpy(), binary_data=binary)
    wanted = client_of.InferRequestedOutput("output", binary_data=binary)
    answer = client.infer(
        "digits",
        [given],
        model_version=version,
        outputs=[wanted],
        request_id="one",
        priority=1,
        timeout=60_000_000,
        parameters={"latency_budget_ms": 60_000},
    )
    told = answer.get_response()
    assert (told["id"], told["model_version"]) == ("one", version or "p100")
    return answer.as_numpy("output")


@pytest.mark.parametrize("words", [[], ["--no-page"]])
def test_the_page_is_told_and_can_be_left_out(
    path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = []

    def run(_host: Any, listening: Any, ready: Any, *, page: bool) -> None:
        ready()
        listening.close()
        wanted.append(page)

    monkeypatch.setattr("concertina.serve.server.run", run)
    assert main(["serve", str(path), "--port", "0", "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (wanted, "page" in told) == ([not words], not words)
    assert told["url"].startswith(told.get("page", "http://127.0.0.1:"))


def test_a_floor_that_no_point_meets_ends_the_server_with_one_message(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(path), "--port", "0", "--floor", "accuracy>=2"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: no point meets the floor: got p25: accuracy>=2; p50: accuracy>=2" in captured.err


def test_a_port_that_is_taken_is_refused_by_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(path), "--port", str(port)]) == 2
    assert (
        f"error: address 127.0.0.1:{port}: got Address already in use. Give another --port" in capsys.readouterr().err
    )


def test_a_folder_stands_for_the_one_family_file_in_it(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert f"family files in folder '{tmp_path}': got none; allowed: one." in capsys.readouterr().err
    (tmp_path / "README.md").write_text("about it")
    (tmp_path / ".b.concertina").write_text("half of it")
    (tmp_path / "a.concertina").write_bytes(path.read_bytes()[:100])
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "a.concertina" in capsys.readouterr().err
    (tmp_path / "c.concertina").write_bytes(b"")
    assert main(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "got a.concertina, c.concertina; allowed: one. Name one of them." in capsys.readouterr().err
