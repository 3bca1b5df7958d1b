"""A file behind an address: ranges, retries, resumes, and every fault a server or a link can have."""

from __future__ import annotations

import random
import threading
import time

import pytest
from tests.save.builders import residual_family
from tests.save.range_server import Content, changing, dropped, serving, silent, status, trickling

from concertina.errors import ConcertinaError, HashError, StorageError, TruncatedError
from concertina.save import HttpSource, Patience, open_artifact

DATA = random.Random(0).randbytes(300_000)
HASTY = Patience(tries=3, first_pause_s=0.01, longest_pause_s=0.05, silence_s=0.5)


def source(address: str, **patience: float) -> HttpSource:
    return HttpSource(address, patience=Patience(**{**vars(HASTY), **patience}))


def test_ranges_come_one_by_one_over_one_connection_and_the_head_only_once() -> None:
    content = Content(DATA)
    with serving(content) as address:
        found = source(address)
        assert found.size == len(DATA)
        assert found.read(0, 1000) == DATA[:1000]
        assert found.read(60_000, 100_000) == DATA[60_000:160_000]
        assert found.read(299_999, 1) == DATA[-1:]
        assert found.read(5, 0) == b""
        with pytest.raises(TruncatedError, match=r"family\.concertina': got 10 of 20 bytes at 299990"):
            found.read(299_990, 20)
        found.close()
        found.close()
    assert [said for _, said in content.asked] == ["bytes=0-65535", "bytes=65536-159999", "bytes=299999-299999"]
    assert content.heads[0]["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie", "Referer"} & set(content.heads[0])


def test_a_broken_range_is_taken_up_where_it_broke() -> None:
    content = Content(DATA, faults=[None, dropped(0.5), status(503), dropped(0.25)])
    with serving(content) as address:
        assert source(address).read(65_536, 200_000) == DATA[65_536:265_536]
    starts = [int(said[6:].partition("-")[0]) for _, said in content.asked]
    assert starts == [0, 65_536, 165_536, 165_536, 190_536]


def test_tries_start_anew_only_where_something_came() -> None:
    with serving(Content(DATA, faults=[None, *(dropped(0.2) for _ in range(4))])) as address:
        assert source(address).read(65_536, 200_000) == DATA[65_536:265_536]
    content = Content(DATA, faults=[None, *(dropped(0.0) for _ in range(9))])
    with serving(content) as address:
        found = source(address)
        with pytest.raises(StorageError, match=r"the link broke after 0 of 200,000 bytes, 3 times in a row\. What was"):
            found.read(65_536, 200_000)
        content.faults = []
        assert found.read(65_536, 200_000) == DATA[65_536:265_536]
    assert len(content.asked) == 1 + 3 + 1


@pytest.mark.parametrize(
    ("number", "tries", "said"),
    [
        (404, 1, r"status 404 \(Not Found\); allowed: a file that can be read. Check the address."),
        (403, 1, r"status 403 \(Forbidden\).*sends no credentials"),
        (401, 1, "sends no credentials"),
        (204, 1, r"status 204 \(No Content\)"),
        (416, 1, "another range than was asked for"),
        (206, 1, "another range than was asked for"),
        (599, 1, "status 599;"),
        (500, 3, r"status 500 \(Internal Server Error\), 3 times in a row"),
        (429, 3, "status 429"),
    ],
)
def test_a_refusal_is_told_and_asked_again_only_where_it_may_pass(number: int, tries: int, said: str) -> None:
    content = Content(DATA, faults=[status(number, Retry_After="1")] * 9)
    with serving(content) as address, pytest.raises(StorageError, match=said):
        source(address)
    assert len(content.asked) == tries


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"etag": '"two"'}, "another ETag"),
        ({"etag": "", "modified": "Sun, 22 Nov 2026 01:00:00 GMT"}, "another date of change"),
        ({"data": DATA + b"x"}, "300,001 bytes where there were 300,000"),
        ({"data": b"x" * 1000}, "1,000 bytes where there were 300,000"),
        ({"ranges": False}, "the whole file in the place of a range"),
        ({"ranges": False, "etag": '"two"'}, "another ETag"),
    ],
)
def test_a_file_that_changes_on_the_way_is_refused(change: dict[str, object], said: str) -> None:
    with serving(Content(DATA, faults=[None, changing(**change)])) as address:
        found = source(address)
        with pytest.raises(StorageError, match=said):
            found.read(100_000, 10_000)


def test_a_server_without_ranges_is_asked_once_and_only_for_what_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    content = Content(DATA, ranges=False, faults=[dropped(0.5)])
    with serving(content) as address:
        found = source(address)
        assert (found.size, found.read(0, len(DATA)), found.bytes_received) == (len(DATA), DATA, 332_768)
        assert len(content.asked) == 2
        monkeypatch.setattr("concertina.save.remote.WHOLE", 1000)
        with pytest.raises(StorageError, match=r"without ranges and a file of 300,000 bytes; .* or fetch the file"):
            source(address)


def test_redirects_are_followed_but_not_in_circles_nor_out_of_the_web() -> None:
    with serving(Content(DATA)) as there:
        moved = status(302, Location=there)
        content = Content(b"", faults=[moved])
        with serving(content) as address:
            assert source(address + "?key=secret").read(70_000, 10) == DATA[70_000:70_010]
        assert len(content.asked) == 1
    for location, said in {
        "": "over 5 redirects",
        "file:///etc/passwd": "got file://; allowed: http:// or https://",
        "//[": "no address",
        "http://user:secret@host/": "a user or password in it",
    }.items():
        with serving(Content(DATA, faults=[status(301, Location=location)] * 9)) as address:
            with pytest.raises(StorageError, match=said) as caught:
                source(address + "?key=secret")
            assert "secret" not in str(caught.value)


def test_a_redirect_that_has_run_out_is_asked_for_anew() -> None:
    far = Content(DATA, faults=[None, status(403)])
    with serving(far) as there:
        near = Content(b"", faults=[status(307, Location=there)] * 2)
        with serving(near) as address:
            assert source(address).read(100_000, 10) == DATA[100_000:100_010]
    assert (len(near.asked), len(far.asked)) == (2, 3)


@pytest.mark.parametrize("fault", [silent(0.6), trickling], ids=["silent", "trickling"])
def test_a_server_that_says_nothing_is_not_waited_for_for_ever(fault: object) -> None:
    start = time.monotonic()
    with serving(Content(DATA, faults=[fault] * 5)) as address:
        with pytest.raises(StorageError, match="3 times in a row"):
            source(address, silence_s=0.2)
        assert time.monotonic() - start < 3


def test_a_link_that_is_too_slow_counts_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concertina.save.link.WINDOW_S", 0.1)
    said = r"fewer than 1e\+09 bytes a second, 2 times in a row"
    with serving(Content(DATA, bytes_per_s=20_000)) as address, pytest.raises(StorageError, match=said):
        source(address, tries=2, bytes_per_s=1e9)


def test_closing_ends_what_is_being_waited_for() -> None:
    content = Content(DATA, faults=[None, silent(3)])
    with serving(content) as address:
        found = source(address, silence_s=10)
        told: list[Exception] = []

        def read() -> None:
            try:
                found.read(100_000, 10)
            except ConcertinaError as error:
                told.append(error)

        reading = threading.Thread(target=read)
        reading.start()
        while len(content.asked) < 2:
            time.sleep(0.01)
        found.close()
        reading.join(2)
        assert "the source is closed" in str(told[0])
        with pytest.raises(StorageError, match="the source is closed"):
            found.read(100_000, 10)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://host/a.concertina", "got ftp://; allowed: http:// or https://, or a path"),
        ("http://user:secret@host/a", "a user or password in it"),
        ("http:///a", "host ''"),
        ("http://host:99999/a", "Port out of range"),
        ("http://[::1/a", "address"),
        ("http://ho st/a", "host 'ho st'"),
        ("http://" + "a" * 300 + "/a", "address"),
        ("http://host/" + "a" * 9000, "9012 characters"),
    ],
)
def test_what_is_no_address_is_refused(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        open_artifact(address)
    assert "secret" not in str(caught.value)


def test_nobody_there_and_no_encryption_there() -> None:
    said = r"the link broke: .*3 times in a row"
    with serving(Content(DATA)) as address, pytest.raises(StorageError, match=said):
        source(address.replace("http:", "https:"))
    with pytest.raises(StorageError, match="Connection refused, 3 times in a row"):
        source(address)


def test_an_artifact_is_read_as_from_a_file_and_checked_as_such() -> None:
    family = residual_family(6)
    whole, content = family.data, Content(family.data)
    with serving(content) as address:
        artifact = open_artifact(address)
        assert artifact.complete
        first = artifact.stages[0]
        assert artifact.read(first.points[0].name).tensors.keys() == family.tensors.keys()
        assert artifact.bytes_read < len(whole) / 2
        grown = artifact.grow()
        assert all(grown.tensors[name].tobytes() == array.tobytes() for name, array in family.tensors.items())
        artifact.close()
    damaged = bytearray(whole)
    damaged[artifact.stages[-1].end - 1] ^= 1
    with serving(Content(bytes(damaged))) as address, open_artifact(address) as artifact:
        content_then = artifact.read(first.points[0].name)
        with pytest.raises(HashError, match=r"file 'http://127.*family.concertina': blob 'stage.\d+'"):
            artifact.grow()
        assert content_then.points == first.points
    with (
        serving(Content(whole[: artifact.ends[first.points[0].name] + 10])) as address,
        open_artifact(address) as artifact,
    ):
        assert not artifact.complete
        assert artifact.read("available").points == first.points
        with pytest.raises(TruncatedError, match="the largest point that is wholly there"):
            artifact.grow()
    for cut in (0, 50, 1000):
        with serving(Content(whole[:cut])) as address, pytest.raises(TruncatedError, match=f"{cut} bytes"):
            open_artifact(address)
