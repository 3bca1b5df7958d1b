"""Scikit-learn's real 8x8 digits, with a fixed split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from concertina.errors import DataError
from concertina.load.sources.base import SOURCES, Progress, Raw, need

SPLIT_SEED = 7
SPLITS = ("train", "validation", "test")


@SOURCES.register("digits", source="UCI digits as in scikit-learn (Alpaydin & Kaynak 1998)", year=1998)
def read_digits(path: str, selection: Mapping[str, str], class_names: tuple[str, ...], progress: Progress) -> Raw:  # noqa: ARG001 - a Reader
    """Read 1,797 real 8x8 grey digits, split 60/20/20 by class with a fixed seed."""
    datasets = need("sklearn.datasets", "scikit-learn", "demo")
    choose = need("sklearn.model_selection", "scikit-learn", "demo").train_test_split
    split = selection.get("split", "")
    if set(selection) != {"split"} or split not in SPLITS:
        allowed = ", ".join(f"zoo:digits@{name}" for name in SPLITS)
        raise DataError("part of zoo:digits", asked=split or "none", allowed=allowed)
    digits = datasets.load_digits()
    everything = np.arange(len(digits.target))
    train, rest = choose(everything, train_size=0.6, random_state=SPLIT_SEED, stratify=digits.target)
    validation, test = choose(rest, train_size=0.5, random_state=SPLIT_SEED, stratify=digits.target[rest])
    rows = np.sort({"train": train, "validation": validation, "test": test}[split])
    images = digits.images[rows].astype(np.float32)[:, None]
    return Raw(images, digits.target[rows].astype(np.int64), tuple(map(str, range(10))))
