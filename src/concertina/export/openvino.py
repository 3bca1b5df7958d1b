"""OpenVINO: a network description (.xml) beside its weights (.bin), run by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from concertina.errors import ExportError
from concertina.export.base import EXPORTERS, Exporter, ExporterTags, Program
from concertina.export.capture import exporting
from concertina.export.extras import need
from concertina.measure.latency import Runner

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXTRA = "openvino"
FREE = -1


@EXPORTERS.register("openvino", source="OpenVINO (Intel)")
class OpenVino(Exporter):
    """OpenVINO's .xml and .bin, run on the CPU in float32."""

    name = "openvino"
    suffix = ".xml"
    tags = ExporterTags(free_batch=True, shares_weights=False)

    def require(self) -> None:
        """Raise `ExtraError` unless openvino is installed."""
        need(EXTRA, "openvino")

    def write(self, program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> tuple[Path, ...]:
        """Write the .xml and the .bin beside it, in full precision; arguments and errors as for `Exporter.write`."""
        (openvino,) = need(EXTRA, "openvino")
        with exporting("OpenVINO", "the subnet"):
            model = openvino.convert_model(program)
            _free_only_the_batch(openvino, model, program)
            _name_outputs(model)
            for key, value in sorted(facts.items()):
                model.set_rt_info(value, ["concertina", key])
            openvino.save_model(model, path, compress_to_fp16=False)
        return (path, path.with_suffix(".bin"))

    def load(self, path: Path, threads: int | None = None) -> Program:
        """Return the file compiled for the CPU; arguments and errors as for `Exporter.load`.

        Without the hint OpenVINO computes in bfloat16 where the processor can.
        """
        (openvino,) = need(EXTRA, "openvino")
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            config |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        try:
            return OpenVinoProgram(openvino.Core().compile_model(path, "CPU", config))
        except RuntimeError as error:
            raise ExportError(f"OpenVINO refuses {path.name}", asked=str(error).split("\n")[0][:300]) from error


class OpenVinoProgram(Program):
    """A network compiled by OpenVINO.

    Args:
        compiled: The compiled network.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for `inputs`, each (batch, ...)."""
        results = self._compiled(_arrays(inputs))
        return tuple(torch.from_numpy(results[place].copy()) for place in range(len(self._compiled.outputs)))

    def runner(self, *inputs: Tensor) -> Runner:
        """Return a callable that computes the outputs for `inputs`."""
        request, arrays = self._compiled.create_infer_request(), _arrays(inputs)
        return lambda: request.infer(arrays, share_inputs=True, share_outputs=True)


def _arrays(inputs: tuple[Tensor, ...]) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in inputs]


def _free_only_the_batch(openvino: Any, model: Any, program: ExportedProgram) -> None:
    """Give every input of the model its sizes again, all but the batch; conversion leaves them all free."""
    example, _ = program.example_inputs
    shapes = {
        given: openvino.PartialShape([FREE, *tensor.shape[1:]])
        for given, tensor in zip(model.inputs, example, strict=True)
    }
    model.reshape(shapes)


def _name_outputs(model: Any) -> None:
    """Call the outputs "output", or "output_0" and on where there are several."""
    for place, given in enumerate(model.outputs):
        given.get_tensor().set_names({"output" if len(model.outputs) == 1 else f"output_{place}"})
