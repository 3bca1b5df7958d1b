"""Hostile files end in the named error, or load as written; nothing else ever happens."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.save.attacks import container, manifest, tables
from tests.save.attacks.base import ATTACKS, Attack, sound
from tests.save.builders import NO_FILES

from concertina.errors import ConcertinaError, HashError, InputError, StorageError
from concertina.save import BytesSource, open_artifact

SETS = (container, manifest, tables)


def read_everything(data: bytes) -> None:
    artifact = open_artifact(BytesSource(data))
    artifact.read()
    artifact.tables()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_ends_in_its_error(attack: Attack) -> None:
    if attack.error is None:
        read_everything(attack.build())
        assert open_artifact(BytesSource(attack.build())).manifest.tensors
        return
    with pytest.raises(attack.error, match=attack.words) as caught:
        read_everything(attack.build())
    assert type(caught.value) is attack.error
    assert isinstance(caught.value, ConcertinaError)
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


def test_the_set_is_as_large_as_it_was() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 200
    assert all(attack.words or re.match("wrong_type", attack.name) or not attack.error for attack in ATTACKS)


def test_the_file_that_attacks_start_from_is_sound() -> None:
    read_everything(sound())
    assert open_artifact(BytesSource(sound())).complete


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("directory", "a directory"),
        ("fifo", "a pipe, device or socket"),
        ("device", "a pipe, device or socket"),
        ("loop", "levels of symbolic links|symbolic link"),
        ("missing", "No such file"),
    ],
)
def test_what_is_no_file_is_refused_without_a_hang(kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    if kind != "missing":
        NO_FILES[kind](path)
    with pytest.raises(StorageError, match=words):
        open_artifact(path)


def test_a_path_with_nul_is_refused() -> None:
    with pytest.raises(StorageError, match="null"):
        open_artifact("a\0b")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.concertina"
    path.write_bytes(sound())

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        open_artifact(path)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    path.write_bytes(sound()[:-1])
    with open_artifact(path) as artifact, pytest.raises(ConcertinaError, match=re.escape(str(path))):
        artifact.read()


def test_a_pin_holds_the_whole_file() -> None:
    right = open_artifact(BytesSource(sound())).sha256
    assert open_artifact(BytesSource(sound()), sha256=right).sha256 == right
    with pytest.raises(HashError, match="pinned"):
        open_artifact(BytesSource(sound()), sha256="0" * 64)
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        open_artifact(BytesSource(sound()), sha256="abc")
