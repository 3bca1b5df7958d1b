"""What `deploy/` and its page say is what there is: commands, paths, ports and files; the image's command is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from tests.serve.test_ray import FakeServe

import concertina
from concertina.cli import build_app
from concertina.serve import Settings
from concertina.serve.app import make_app
from concertina.serve.host import Host

Instructions = list[tuple[str, str]]


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "deploying.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that the page makes, alone in its folder."""
    folder = tmp_path_factory.mktemp("models")
    (code,) = blocks(page, "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "docs/deploying.md", "exec"), {"__name__": "page"})
    return folder / "digits.concertina"


@pytest.fixture(scope="module")
def image(root: Path) -> Instructions:
    """Return the instructions of the Dockerfile, in order."""
    text = (root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines.splitlines() if line)]


def last(image: Instructions, name: str) -> str:
    return [rest for known, rest in image if known == name][-1]


def command(image: Instructions) -> list[str]:
    return [*json.loads(last(image, "ENTRYPOINT")), *json.loads(last(image, "CMD"))]


def paths() -> set[str]:
    """Return what the server answers to."""
    return {route.path for route in make_app(Host("digits", lambda: None)).routes}  # type: ignore[attr-defined, arg-type, return-value]


def options_of(words: list[str]) -> dict[str, Any]:
    """Return the options that the command line reads from words after "concertina"; wrong ones raise."""
    verb = typer.main.get_command(build_app()).commands[words[0]]  # type: ignore[attr-defined]
    return dict(verb.make_context(words[0], list(words[1:])).params)


def test_the_image_runs_as_nobody_without_a_shell_and_says_when_it_is_ready(image: Instructions, root: Path) -> None:
    names = [name for name, _ in image]
    assert set(names) <= {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL"} | {
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(image, "USER"))
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")
    assert all(":" in rest.split()[0] or rest.split()[0] == "packages" for name, rest in image if name == "FROM")
    assert all("--no-cache-dir" in rest for name, rest in image if name == "RUN" and "pip install" in rest)
    assert last(image, "STOPSIGNAL") == "SIGTERM"
    words = command(image)
    asked = options_of(words[1:])
    assert (words[0], asked["host"], str(asked["port"])) == ("concertina", "0.0.0.0", last(image, "EXPOSE"))
    assert (asked["file"], last(image, "WORKDIR")) == ("/models", "/models")
    address = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", last(image, "HEALTHCHECK"))
    assert address is not None
    assert address[1] == last(image, "EXPOSE")
    assert address[2] in paths()


def test_the_image_is_made_of_files_that_are_there_and_are_sent(image: Instructions, root: Path) -> None:
    ignored = (root / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    own = [rest.split() for name, rest in image if name == "COPY" and "--from" not in rest]
    sources = {source for words in own for source in words[:-1]}
    assert sources == {line[1:] for line in ignored if line.startswith("!")}
    assert all((root / source).exists() for source in sources)
    extras = re.search(r"^ARG EXTRAS=(\w+)$", "\n".join(f"{name} {rest}" for name, rest in image), re.MULTILINE)
    assert extras is not None
    assert f"\n{extras[1]} = [" in (root / "pyproject.toml").read_text(encoding="utf-8")


def test_the_image_s_command_serves_a_mounted_folder_is_found_healthy_and_ends_in_peace(
    image: Instructions, file: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"concertina": "-m concertina", "/models": str(file.parent), "8080": port, "0.0.0.0": "127.0.0.1"}
    words = [part for word in command(image) for part in places.get(word, word).split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen([sys.executable, *words], **pipe)  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == f"serving http://127.0.0.1:{port}/v2/models/digits\n"
        check = json.loads(last(image, "HEALTHCHECK").partition("CMD ")[2].replace("8080", port))
        assert subprocess.run([sys.executable, *check[1:]], check=False, timeout=60).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert subprocess.run([sys.executable, *check[1:]], check=False, stderr=subprocess.DEVNULL).returncode == 1
    finally:
        process.kill()
        process.communicate()


def test_kserve_asks_for_what_the_server_has(image: Instructions, root: Path, page: str) -> None:
    yaml = pytest.importorskip("yaml")
    folder = root / "deploy" / "kserve"
    runtime, service = (
        yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("serving-runtime", "inference-service")
    )
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model, spec = service["spec"]["predictor"]["model"], runtime["spec"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in spec["protocolVersions"]
    assert model["modelFormat"] in [
        {k: v for k, v in f.items() if k != "autoSelect"} for f in spec["supportedModelFormats"]
    ]
    (container,) = spec["containers"]
    (port,) = container["ports"]
    asked = options_of(container["args"])
    assert (container["name"], port["name"]) == ("kserve-container", "http1")
    assert (asked["file"], asked["name"], asked["host"]) == ("/mnt/models", "{{.Name}}", "0.0.0.0")
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")]
    metrics = {key.rpartition("/")[2]: value for key, value in spec["annotations"].items()}
    assert {asked["port"], port["containerPort"], *(probe["port"] for probe in probes), int(metrics["port"])} == {8080}
    assert {metrics["path"], *(probe["path"] for probe in probes)} <= paths()
    assert "/v2/models/{model}/ready" in paths()
    assert int(container["resources"]["limits"]["cpu"]) == asked["threads"]
    secured = container["securityContext"]
    assert (secured["runAsNonRoot"], f"{secured['runAsUser']}:10001") == (True, last(image, "USER"))
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert container["image"] == f"concertina-serve:{concertina.__version__}"
    assert container["image"] in page


def test_the_page_s_commands_are_read_as_they_stand(page: str, root: Path) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(concertina [^`]+ --[^`]+)`", page)
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("concertina ")]
    assert [words[0] for words in ours] == ["export", "serve"]
    assert [options_of(words)["file"] for words in ours] == [Path("digits.concertina"), "models"]
    named = {word for line in lines for word in line.split() if word.startswith("deploy/")}
    there = {str(path.relative_to(root)) for path in (root / "deploy").rglob("*") if path.suffix in ("", ".yaml")}
    assert named == there - {"deploy/kserve"}


def test_the_page_s_lines_for_ray_hand_over_what_they_say(
    page: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, ran = FakeServe("ray.serve"), []
    package = ModuleType("ray")
    package.serve, fake.run = fake, ran.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", package)
    monkeypatch.setitem(sys.modules, "ray.serve", fake)
    monkeypatch.chdir(file.parent)
    (code,) = blocks(page, "python ray")
    exec(compile(code, "docs/deploying.md", "exec"), {"__name__": "page"})
    assert ran[0].given == (str(file), "digits", Settings(threads=1))
    assert ran[0].options["autoscaling_config"]["max_replicas"] == 4
    (line,) = (line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("serve run"))
    _, _, target, *words = shlex.split(line.replace("$PWD", str(file.parent)))
    module, _, name = target.partition(":")
    made = getattr(__import__(module, fromlist=[name]), name)(dict(word.split("=") for word in words))
    assert (made.given, made.options["num_replicas"]) == (ran[0].given, 2)
