"""What is printed by chance stays short: no tensor, no thousand steps, no list of Records."""

from __future__ import annotations

import concertina as ct
from concertina.testing import make_subject
from concertina.types import Record


def test_nouns_print_as_one_short_line() -> None:
    subject = make_subject(ct.load("zoo:digits-cnn"))
    supernet = subject.supernet
    nouns = (subject.core, subject.graph, subject.scores, supernet, supernet.space, supernet.order)
    shown = [repr(noun) for noun in nouns]
    assert max(map(len, shown)) < 120
    assert not any("tensor(" in text or "\n" in text for text in shown)
    assert shown[0] == "Core(zoo:digits-cnn, 112,010 parameters, classification, 10 classes)"
    assert shown[1] == "Graph(9 of 10 groups and 6 of 6 blocks are elastic)"
    assert "69 steps" in shown[-1]


def test_evidence_prints_how_much_there_is() -> None:
    from concertina.family import Evidence

    evidence = Evidence(tuple(Record("core", "accuracy", i / 100, "share") for i in range(100)), (1,) * 500)
    assert repr(evidence) == "Evidence(100 records, 500 predictions of the core)"
