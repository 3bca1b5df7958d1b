"""What a user asks to keep whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from concertina.errors import AnalysisError, did_you_mean
from concertina.types import Block, Group

BY_REQUEST = "kept whole by request"


@dataclass(frozen=True)
class Requests:
    """Names that a user wants kept whole: of a group, or of a module with all inside it.

    Example:
        >>> Requests(("layer1",)).on_block(Block("layer1.0", ("layer1.0.weight",))).rigid
        'kept whole by request'
    """

    names: tuple[str, ...]

    @staticmethod
    def of(names: Sequence[str]) -> Requests:
        """Return requests; one name may be given without a list around it."""
        return Requests((names,) if isinstance(names, str) else tuple(names))

    def check(self, module: nn.Module, groups: Iterable[str]) -> None:
        """Refuse names that stand for nothing.

        Args:
            module: The network.
            groups: Names of its groups.

        Raises:
            AnalysisError: A name is that of no module and of no group.
        """
        known = {path for path, _ in module.named_modules() if path} | set(groups)
        for name in self.names:
            if name not in known:
                raise AnalysisError(
                    "name to keep whole",
                    asked=repr(name),
                    allowed="paths of modules and names of groups",
                    do=did_you_mean(name, known),
                )

    def on_group(self, group: Group) -> Group:
        """Return the group, rigid if it is asked for by name, or has members in a module that is."""
        paths = (member.tensor.rpartition(".")[0] for member in group.members)
        asked = group.name in self.names or any(self._holds(path) for path in paths)
        return replace(group, rigid=BY_REQUEST) if asked and not group.rigid else group

    def on_block(self, block: Block) -> Block:
        """Return the block, rigid if it is, lies in or holds a module that is asked for."""
        asked = self._holds(block.path) or any(name.startswith(f"{block.path}.") for name in self.names)
        return replace(block, rigid=BY_REQUEST) if asked and not block.rigid else block

    def vouches_for(self, path: str) -> bool:
        """Return whether a module is asked for by its own path or by that of a module around it."""
        return self._holds(path)

    def _holds(self, path: str) -> bool:
        return any(path == name or path.startswith(f"{name}.") for name in self.names)
