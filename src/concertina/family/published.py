"""A family on a model hub, or in a folder as a hub has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from concertina.family import hub

if TYPE_CHECKING:
    from concertina.family.family import Family


class Published:
    """What a family can do with a hub, by the names that its users expect."""

    def save_pretrained(self, folder: str | Path, *, title: str = "") -> tuple[Path, ...]:
        """Write the family's file and a model card (README.md) into a folder; return the files written.

        Args:
            folder: The folder, made where it is missing; other files in it are left alone.
            title: Heading of the card; the source of the network when left out.

        Raises:
            StorageError, PointError, InputError: As `save`.
        """
        return hub.save_folder(self._own, Path(folder), title=title)

    def push_to_hub(self, repo_id: str, *, commit_message: str = "Upload a Concertina family", **options: Any) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub, and return the address.

        Args:
            repo_id: Name on the hub, "org/name"; made where it is missing.
            commit_message: What to call the change.
            **options: private=True for a page that others do not see; token= for another account.

        Raises:
            ExtraError: huggingface_hub is not installed.
            StorageError: The hub refuses.
        """
        return hub.push(self._own, repo_id, commit_message, options)

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> Family:
        """Open the family in a folder that `save_pretrained` wrote, or on the hub.

        Args:
            source: The folder, or "org/name".
            **options: As for `concertina.open`: module=, upto=, reserve=, sha256=.

        Raises:
            LoadError: There is no family of that name.
            FormatError: The file is damaged, hostile, cut, or of another version.
        """
        return hub.open_folder(source, options)

    @property
    def _own(self) -> Family:
        return cast("Family", self)
