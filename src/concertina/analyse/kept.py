"""Verified graphs, kept in the user's cache folder, so that a network is analysed once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from concertina.types import Block, Graph, Group, Member, SizeAttribute

log = logging.getLogger("concertina")

FORMAT = 1
SWITCH = "CONCERTINA_ANALYSIS_CACHE"
"""Environment variable that turns the cache off: "off" or "0"."""


def is_on() -> bool:
    """Return whether graphs are kept at all."""
    return os.environ.get(SWITCH, "").lower() not in ("off", "0", "no", "false")


def folder() -> Path:
    """Return where graphs are kept: below XDG_CACHE_HOME, or ~/.cache where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concertina" / "analysis"


def kept(identity: str) -> Graph | None:
    """Return the graph of a network; None where there is none, or none that can be used.

    Args:
        identity: Digest of the network and of what was asked (`identity.identity`).
    """
    try:
        held = json.loads(_path(identity).read_text(encoding="utf-8"))
        if held["format"] != FORMAT or held["identity"] != identity or held["digest"] != _digest(held["graph"]):
            return None
        return _graph(held["graph"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def keep(identity: str, graph: Graph) -> None:
    """Keep a graph; a cache that cannot be written is no reason to stop.

    Args:
        identity: Digest of the network and of what was asked.
        graph: Its verified groups and blocks.
    """
    path, content = _path(identity), json.loads(json.dumps(asdict(graph)))
    text = json.dumps({"format": FORMAT, "identity": identity, "digest": _digest(content), "graph": content})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the analysis cannot be kept in '%s': %s", path.parent, error.strerror or error)


def _path(identity: str) -> Path:
    return folder() / f"{identity[:32]}.json"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _graph(held: Mapping[str, Any]) -> Graph:
    return Graph(
        tuple(_group(one) for one in held["groups"]),
        tuple(Block(**{**one, "tensors": tuple(one["tensors"])}) for one in held["blocks"]),
        unreached=tuple(held["unreached"]),
        factored=tuple(held["factored"]),
        outputs=tuple(held["outputs"]),
    )


def _group(held: Mapping[str, Any]) -> Group:
    members = tuple(Member(**one) for one in held["members"])
    return Group(**{**held, "members": members, "attributes": tuple(SizeAttribute(**o) for o in held["attributes"])})
