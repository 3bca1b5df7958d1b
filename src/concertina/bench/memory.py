"""Memory of all sizes at once: views of one storage, beside networks of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from concertina.bench.base import THEMES, Job, Theme, markdown
from concertina.bench.figures import FAMILY, Figures, scope
from concertina.bench.verdicts import Bar, at_most
from concertina.nest import materialize, named_tensors
from concertina.types import Record

SEPARATE, LARGEST = "one network a size", "the full network alone"
MOST_OVER = 1.01


@THEMES.register("memory", source="ours")
class MemoryTheme(Theme):
    """Bytes of tensors that are held while every size can be called."""

    title = "Memory while every size can be called: bytes of tensors"

    def measure(self, job: Job) -> list[Record]:
        """Count the bytes of every distinct storage that the modules of all points hold."""
        found = []
        for subject in job.subjects:
            family = subject.family
            views = [family.view(point.name) for point in family.points]
            private = sum(tensor.nbytes for held in family.supernet.private.values() for tensor in held.values())
            figures = {
                FAMILY: storage_bytes(views),
                SEPARATE: storage_bytes([materialize(view) for view in views]),
                LARGEST: storage_bytes([materialize(views[-1])]),
            }
            found += [
                Record("", "memory_bytes", float(b), "bytes", scope=scope(subject.name, w)) for w, b in figures.items()
            ]
            least = figures[LARGEST] + private
            where = scope(subject.name, FAMILY)
            found.append(Record("", "memory_private_bytes", float(private), "bytes", scope=where))
            found.append(Record("", "memory_over", figures[FAMILY] / least, "ratio", scope=where))
        return found

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return a row for each way, a column for each family."""
        subjects = figures.subjects("memory_bytes")
        rows = []
        for who in (FAMILY, LARGEST, SEPARATE):
            found = [figures.one("memory_bytes", subject, who) for subject in subjects]
            whole = [figures.one("memory_bytes", subject, LARGEST) for subject in subjects]
            rows.append((who, *(_with_ratio(*pair) for pair in zip(found, whole, strict=True))))
        return markdown(("", *(f"{name}, {len(figures.places[name])} points" for name in subjects)), rows)

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Compare the views with the full network and the private tensors of all points."""
        bars = []
        for subject in figures.subjects("memory_over"):
            found = figures.one("memory_over", subject, FAMILY)
            if found is not None:
                what = f"{subject}: memory of all points as views, over the full network and their private tensors"
                room = MOST_OVER - found.value
                bars.append(Bar(what, f"<= {MOST_OVER}x", f"{found.value:.3f}x", at_most(found, MOST_OVER), room))
        return bars


def _with_ratio(held: Record | None, whole: Record | None) -> str:
    return "-" if held is None or whole is None else f"{held.value:,.0f} ({held.value / whole.value:.2f}x)"


def storage_bytes(modules: Iterable[nn.Module]) -> int:
    """Return the bytes of all storages that the modules' tensors lie in, each once.

    Example:
        >>> import torch
        >>> layer = nn.Linear(4, 4, bias=False)
        >>> storage_bytes([layer, layer])
        64
    """
    tensors: list[Tensor] = [tensor for module in modules for tensor in named_tensors(module).values()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
