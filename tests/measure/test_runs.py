"""Run files and fingerprints: whole or not at all, readable again, and nothing private in them."""

from __future__ import annotations

import json
import math
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from concertina.errors import InputError, StorageError
from concertina.measure.machine import (
    machine_fingerprint,
    multiplies_bfloat16,
    processor_details,
    processor_name,
    versions,
)
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Record

NOW = datetime(2026, 11, 21, 7, 2, 11, tzinfo=UTC)
RECORDS = [Record("core", "accuracy", 0.9173, "share", 8000, 0.911, 0.923, seed=3, data="d")]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    run = new_run("r20-views", RECORDS, seed=3, settings={"batch": 1}, now=NOW)
    path = write_run(tmp_path / "runs", run)
    assert read_run(path) == run
    assert path.name.startswith("r20-views_")
    assert path.name.endswith("_20261121T070211Z.json")
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_run_states_machine_versions_and_seed(tmp_path: Path) -> None:
    content = json.loads(write_run(tmp_path, new_run("a", RECORDS, seed=5, now=NOW)).read_text())
    assert (content["machine"], content["versions"], content["seed"]) == (machine_fingerprint(), versions(), 5)


def test_figures_that_are_no_numbers_are_null_in_the_file(tmp_path: Path) -> None:
    path = write_run(tmp_path, new_run("a", [Record("core", "loss", math.inf, "nats", low=math.nan)], now=NOW))
    record = json.loads(path.read_text())["records"][0]
    assert record["value"] is None
    assert record["low"] is None
    assert math.isnan(read_run(path).records[0].value)


@pytest.mark.parametrize("theme", ["", "Two Words", "../up", "a--b", "a_b"])
def test_a_theme_that_makes_no_file_name_is_refused(theme: str) -> None:
    with pytest.raises(InputError, match="theme of a run"):
        new_run(theme, RECORDS)


def test_a_disk_that_refuses_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder")
    with pytest.raises(StorageError, match="cannot write"):
        write_run(folder, new_run("a", RECORDS, now=NOW))
    assert folder.read_text() == "no folder"


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("concertina.measure.runs.os.fsync", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        write_run(tmp_path, new_run("a", RECORDS, now=NOW))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records": [{}]}', '{"records": 3}'])
def test_what_is_no_run_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is no run file"):
        read_run(path)


def test_a_missing_run_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run file"):
        read_run(tmp_path / "none.json")


def test_the_fingerprint_names_the_processor_and_not_the_machine() -> None:
    processor, cores, _, system = machine_fingerprint().split("; ")
    assert processor
    assert cores.endswith(" cores")
    assert system
    host = socket.gethostname()
    assert len(host) < 4 or host not in machine_fingerprint()
    assert "/" not in machine_fingerprint()


def test_a_processor_is_read_from_the_systems_list(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Some  CPU; 3 GHz\nmodel name\t: Other\n")
    assert processor_name(listed) == "Some CPU, 3 GHz"
    assert processor_name(tmp_path / "none")


def test_the_fingerprint_tells_processors_of_one_name_apart(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text(
        "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
        "flags\t\t: fpu avx512f avx2 avx9\n"
    )
    assert (processor_name(listed), processor_details(listed)) == ("AMD EPYC", ("26-2-1", "avx2 avx512f"))
    listed.write_text("CPU implementer\t: 0x41\nFeatures\t: fp asimd sve\nCPU part\t: 0xd0c\n")
    assert processor_details(listed) == ("0x41-0xd0c", "asimd sve")
    assert processor_details(tmp_path / "none") == ("", "")


def test_file_names_leave_out_the_fingerprint_s_details() -> None:
    run = Run("x", "AMD EPYC (26-2-1); 2 cores; x86_64 (avx2 fma); Linux", "2026-11-21T07:02:11Z", "", None, ())
    assert run.file_name == "x_amd-epyc-2-cores-x86-64-linux_20261121T070211Z.json"
    plain = "Intel(R) Xeon(R) Processor; 2 cores; x86_64; Linux"
    assert "intel-r-xeon-r-processor-2-cores" in replace(run, machine=plain).file_name


def test_versions_name_what_figures_depend_on() -> None:
    assert [part.split()[0] for part in versions().split("; ")] == ["concertina", "torch", "python"]


def test_bfloat16_is_multiplied_only_where_the_processor_says_so(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    for flags, expected in (("avx2 avx512f", False), ("avx2 avx512_bf16", True), ("amx_tile amx_bf16", True)):
        listed.write_text(f"model name : AMD EPYC\nflags : fpu {flags}\n", encoding="utf-8")
        assert multiplies_bfloat16("cpu", listed) is expected
    assert not multiplies_bfloat16("cpu", tmp_path / "none")
