"""Open: a family from its file, or the part of it that is needed."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from concertina.family.evidence import Evidence
from concertina.family.family import Family
from concertina.family.persist import Opened, example_inputs, rebuild, with_tables
from concertina.family.subset import all_classes
from concertina.load.zoo import ZOO
from concertina.objective import AUGMENTATIONS
from concertina.save import ByteSource, Manifest, open_artifact
from concertina.types import Core

log = logging.getLogger("concertina")


def open(
    path: str | Path | ByteSource,
    module: nn.Module | None = None,
    *,
    upto: str | float | None = None,
    reserve: bool = True,
    sha256: str | None = None,
) -> Family:
    """Open a family, reading only the bytes it needs.

    Args:
        path: The file, an http or https address, or a source of bytes.
        module: Your own network, for a family that was made from one; the zoo's are built from data.
        upto: Name of the point (or share of the MACs) to read up to; the whole file unless said. Only the points
            within are there; `grow()` reads on.
        reserve: Whether room for the full size is taken now, so that subnets handed out stay valid while the family
            grows; otherwise just what is read.
        sha256: The header's hash, when the file must be a certain one.

    Returns:
        The family, its Records included when the whole file is read.

    Raises:
        FormatError: The file is damaged, hostile, cut, or of another version; nothing in it is ever executed.
        LoadError: A module is needed, or the one given is another network.
        PointError: No such point.
        StorageError: The file cannot be read, or the server refuses or is silent.
    """
    artifact = open_artifact(path, sha256=sha256)
    manifest = artifact.manifest
    skeleton = rebuild(manifest, module)
    opened = Opened(artifact, skeleton, reserve)
    supernet = opened.first(upto)
    core = Core(
        module=skeleton,
        example_inputs=example_inputs(manifest),
        source=manifest.architecture.source,
        fingerprint=manifest.core_fingerprint,
        arguments=dict(manifest.architecture.arguments),
        licence=manifest.licence,
        task=manifest.task,
        class_names=manifest.class_names,
        all_classes=all_classes(manifest.provenance),
        preprocess=manifest.preprocess,
        augment=_augmentation(manifest),
        rewritten=manifest.architecture.rewritten,
    )
    tables = artifact.tables() if upto is None else {}
    evidence = Evidence(provenance={key: str(value) for key, value in manifest.provenance.items()})
    if tables:
        evidence = with_tables(evidence, tables, core, supernet)
    return Family(core, supernet, evidence=evidence, opened=opened)


def _augmentation(manifest: Manifest) -> str:
    """Return what the family was trained with; where the file does not say, what suits a network of the zoo."""
    if not manifest.augment:
        name = manifest.architecture.source.removeprefix("zoo:")
        return ZOO.get(name).augment if name in ZOO else "none"
    if manifest.augment not in AUGMENTATIONS:
        log.warning("augmentation %r is not known here: at(calibrate=) goes without", manifest.augment)
        return "none"
    return manifest.augment
