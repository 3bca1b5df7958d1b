"""A family as a folder or a page of a model hub: the file, and a card that says what it is."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concertina.errors import ExtraError, InputError, LoadError, StorageError, did_you_mean, how_to_install
from concertina.export.staging import move_into, staging
from concertina.load.hub import fetched

if TYPE_CHECKING:
    from concertina.family.family import Family

FAMILY, CARD = "family.concertina", "README.md"
"""Names of the files in such a folder."""
OPTIONS = ("private", "token")
USE = """
## How to use it

```python
import concertina as ct

family = ct.Family.from_pretrained({name!r})
network = family.at(0.5)  # half of the multiply-accumulates; any share, a point's name, or a latency
```
"""


def save_folder(family: Family, folder: Path, *, title: str = "", name: str = "") -> tuple[Path, ...]:
    """Write a family's file and its card into a folder; other files there are left alone.

    Args:
        family: The family, whole.
        folder: The folder; it is made where it is missing.
        title: Heading of the card; the source of the network when left out.
        name: What the card calls the place that the family is loaded from.

    Returns:
        The files written.

    Raises:
        StorageError: The disk refuses, or there is a file of the folder's name; nothing is changed then.
        PointError: Only a part of the family is here.
    """
    from concertina.report import card, report_data

    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file", allowed="a folder")
    with staging(folder) as place:
        family.save(place / FAMILY)
        text = card(report_data(family, title or f"{family.core.source}: one network, every size"))
        (place / CARD).write_text(
            text + USE.format(name=name or folder.resolve().name), encoding="utf-8", errors="replace"
        )
        return move_into(folder, [place / FAMILY, place / CARD])


def push(family: Family, repository: str, commit_message: str, options: Mapping[str, Any]) -> str:
    """Upload a family's folder to the hub; see `Family.push_to_hub`."""
    for name in options:
        if name not in OPTIONS:
            allowed = ", ".join(OPTIONS)
            raise InputError("option of push_to_hub", asked=repr(name), allowed=allowed, do=did_you_mean(name, OPTIONS))
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ExtraError(
            "uploading needs a package that is not installed", asked="huggingface_hub", do=how_to_install("hf")
        ) from error
    with tempfile.TemporaryDirectory(prefix="concertina-") as place:
        save_folder(family, Path(place) / "family", name=repository)
        try:
            api = hub.HfApi(token=options.get("token"))
            made = api.create_repo(repository, private=options.get("private"), exist_ok=True)
            api.upload_folder(
                repo_id=getattr(made, "repo_id", repository),
                folder_path=Path(place) / "family",
                commit_message=commit_message,
            )
        except Exception as error:  # the hub's errors are many: no token, no right, no network, no such name
            said = next(iter(str(error).splitlines()), "")
            raise StorageError(
                f"the hub did not take {repository!r}",
                asked=f"{type(error).__name__}: {said}"[:300],
                do="Check the name, the network and that you are logged in (hf auth login).",
            ) from error
    return str(made)


def open_folder(source: str | Path, options: Mapping[str, Any]) -> Family:
    """Open the family in a folder or on the hub; see `Family.from_pretrained`."""
    from concertina.family.opening import open as open_family

    folder = fetched(str(source), FAMILY, CARD)
    if not (folder / FAMILY).is_file():
        do = f"Did you mean ct.load('hf:{source}')?" if (folder / "config.json").is_file() else ""
        raise LoadError(
            f"no family in {str(folder)!r}", asked=f"no {FAMILY}", allowed="what save_pretrained wrote", do=do
        )
    return open_family(folder / FAMILY, **options)
