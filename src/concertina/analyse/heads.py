"""Attention heads as groups: alone, with tables that hold an entry for each head, or all that share such a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from concertina.analyse.attention import Heads, find_heads
from concertina.analyse.groups import head_group
from concertina.analyse.layers import Key, Wiring
from concertina.analyse.probe import Probe
from concertina.analyse.requests import BY_REQUEST, Requests
from concertina.analyse.verify import Verdict, verify_first
from concertina.types import Group

MOST_TABLES = 8
"""Most tables that are tried one by one."""


def judged_heads(
    probes: Sequence[Probe], requests: Requests, tell: Callable[[float], None] = lambda _done: None
) -> list[Verdict]:
    """Return the verdicts on all heads that are elastic, or kept whole by request.

    Each attention module is tried by itself, then with the tables inside or beside it; those that are left are tried
    together with a table that they all read.

    Args:
        probes: The randomised network on inputs of several sizes; what fails on the first is tried on the next.
        requests: What the user wants kept whole.
        tell: Told now and then which share is done.
    """
    verdicts, left, found = [], [], find_heads(probes[0].module)
    for done, heads in enumerate(found):
        tell(done / len(found))
        verdict = _judged(probes, requests, [heads], f"{heads.path.rpartition('.')[0]}.".removeprefix("."))
        verdicts += [verdict] if verdict else []
        left += [] if verdict else [heads]
    for count in dict.fromkeys(count for heads in left for count in heads.counts):
        sharing = [heads for heads in left if count in heads.counts]
        verdict = _judged(probes, requests, sharing, "", (count,)) if len(sharing) > 1 else None
        if verdict:
            verdicts.append(verdict)
            left = [heads for heads in left if heads not in sharing]
    return verdicts


def _judged(
    probes: Sequence[Probe], requests: Requests, together: Sequence[Heads], under: str, counts: Sequence[int] = ()
) -> Verdict | None:
    """Return the verdict on heads that go together; None where no reading of them holds."""
    readings = list(_readings(probes[0].wiring, together, under, counts or together[0].counts))
    for probe in probes if readings else ():
        verdict = verify_first(probe, [requests.on_group(group) for group in readings])
        if verdict.group.elastic or verdict.group.rigid == BY_REQUEST:
            return verdict
    return None


def _readings(wiring: Wiring, together: Sequence[Heads], under: str, counts: Sequence[int]) -> Iterator[Group]:
    """Yield candidate groups: without tables where heads may stand alone, then with all tables, then with each.

    What one projection makes for a head may lie together, or in three runs: all queries, all keys, all values.
    """
    layouts = (3, 1) if together[0].fused else (1,)
    pairs = [(count, runs) for count in counts for runs in layouts] if len(together) == 1 else []
    alone = (head_group(wiring, together, count, runs=runs) for count, runs in pairs)
    yield from (group for group in alone if group is not None)
    for count in counts:
        tables = _tables(wiring, count, under)
        for chosen in ([tables] if tables else []) + [[key] for key in tables[:MOST_TABLES] if len(tables) > 1]:
            group = head_group(wiring, together, count, chosen)
            if group is not None:
                yield group


def _tables(wiring: Wiring, units: int, under: str) -> list[Key]:
    """Return the sides of `units` entries of tensors below a path that are embeddings or used by themselves."""
    raw = set(wiring.raw())
    return [
        (name, dim)
        for name, tensor in wiring.tensors.items()
        if name.startswith(under) and tensor.dim() > 1
        for dim, size in enumerate(tensor.shape)
        if size == units and (name in raw or _is_embedded(wiring, (name, dim)))
    ]


def _is_embedded(wiring: Wiring, key: Key) -> bool:
    sides = wiring.holders.get(key, ())
    return bool(sides) and all(any(size[0] == "embedding_dim" for size in side.sizes) for side in sides)
