"""Data from a folder that holds one folder of images per class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from concertina.errors import DataError
from concertina.load.pixels import decode
from concertina.load.sources.base import SOURCES, Progress, Raw, as_images

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@SOURCES.register("folder", source="ours")
def read_folder(path: str, selection: Mapping[str, str], class_names: tuple[str, ...], progress: Progress) -> Raw:
    """Read a folder that holds one folder of images per class, or such a folder per split."""
    root = Path(path)
    if selection.keys() - {"split"}:
        raise DataError(f"selection in the folder {path}", asked=", ".join(selection), allowed="split")
    if "split" in selection:
        splits = _folders(root)
        if selection["split"] not in splits:
            raise DataError(f"split of {path}", asked=selection["split"], allowed=", ".join(splits))
        root = root / selection["split"]
    names = _folders(root)
    strange = set(names) - set(class_names) if class_names else set()
    if strange:
        raise DataError(f"class folders of {root}", asked=", ".join(sorted(strange)), allowed=", ".join(class_names))
    names = list(class_names or names)
    files = [(file, index) for index, name in enumerate(names) for file in _images(root / name)]
    if not files:
        raise DataError(f"{str(root)!r} holds no images", allowed=f"one folder per class, of {', '.join(SUFFIXES)}")
    inputs = decode(((str(file), _content(file)) for file, _ in files), len(files), progress)
    inputs, channels_last = as_images(inputs, path)
    labels = np.array([index for _, index in files], dtype=np.int64)
    return Raw(inputs, labels, tuple(names), channels_last)


def _folders(root: Path) -> list[str]:
    try:
        return sorted(item.name for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder {str(root)!r} cannot be read", asked=str(error)) from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{str(file)!r} cannot be read", asked=str(error)) from error


def _images(folder: Path) -> list[Path]:
    return sorted(item for item in folder.glob("*") if item.suffix.lower() in SUFFIXES) if folder.is_dir() else []
