"""A family on its way out: points as files that other programs load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from concertina.export import Exported, Extracted, SharedExport, TritonRepository
from concertina.family.choosing import Asked
from concertina.family.dial import Budget
from concertina.family.runtimes import TritonOptions, exported, exported_for_triton, exported_together, extracted
from concertina.train import Reporter

if TYPE_CHECKING:
    from concertina.family.family import Family


class Exporting:
    """What a family can write for other programs."""

    def extract(
        self, folder: str | Path, share: Asked = None, *, modules: str = "", **budget: Unpack[Budget]
    ) -> Extracted:
        """Write one point as usual files that load without Concertina: weights, `slim.json`, and a `.pt2` program.

        Args:
            folder: Where to write; files of an earlier extraction are replaced.
            share: Which point, as for `choose`.
            modules: Names of modules to merge into its weights; changes of weights only.
            **budget: As for `choose`, in place of a share.

        Raises:
            InputError: A module is not there, or adds computation.
            StorageError: The disk refuses, or the folder holds other files.
            BudgetError, PointError: As `choose`.
        """
        return extracted(self._own, self._own.choose(share, **budget), Path(folder), modules)

    def export(
        self,
        path: str | Path,
        share: Asked = None,
        *,
        to: str = "onnx",
        data: Any = None,
        modules: str = "",
        **budget: Unpack[Budget],
    ) -> Exported:
        """Write one point as a file of another runtime, once it is seen to compute what the point computes.

        Args:
            path: The file; its name ends as the exporter wants it (.onnx, .xml).
            share: Which point, as for `choose`.
            to: The exporter: "onnx" or "openvino".
            data: Real inputs to compare on too, as `fit` takes data.
            modules: Names of modules to merge into it: changes of weights, and a last layer of their own.
            **budget: As for `choose`, in place of a share.

        Raises:
            InputError: No such exporter, packages are missing, the file's name ends otherwise, or a module is not
                there or adds computation.
            ExportError: The network cannot be exported, or the file computes something else; nothing is written then.
            BudgetError, PointError, StorageError: As `extract`.
        """
        return exported(self._own, lambda: self._own.choose(share, **budget), Path(path), to, data, modules)

    def export_all(self, folder: str | Path, *, data: Any = None, progress: Reporter | None = None) -> SharedExport:
        """Write all points as small ONNX graphs over one file of weights; arguments and errors as for `export`."""
        return exported_together(self._own, Path(folder), data, progress)

    def export_triton(self, folder: str | Path, model: str, **options: Unpack[TritonOptions]) -> TritonRepository:
        """Write all points as versions of one model in a repository for Triton, each once it is seen to be right.

        Args:
            folder: The repository; made where it is missing. Other models in it stay as they are.
            model: Name of the model.
            **options: max_batch (16 unless said), data to compare on too, progress, modules to merge.

        Returns:
            What was written: version 1 is the smallest point, the last the largest.

        Raises:
            InputError: The name or the batch is of no use, or packages are missing.
            ExportError: A point cannot be exported, or its file computes something else; nothing is written then.
            StorageError: The disk refuses, or something else is in place of the model.
        """
        return exported_for_triton(self._own, Path(folder), model, options)

    @property
    def _own(self) -> Family:
        return cast("Family", self)
