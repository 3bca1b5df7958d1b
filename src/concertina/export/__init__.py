"""Subnets leave the family here, as files that other tools read."""

from concertina.export.base import EAGER, EXPORTERS, LAYOUTS, Exporter, ExporterTags, Program, runtimes
from concertina.export.check import Agreement, check
from concertina.export.folder import Extracted, extract
from concertina.export.onnx import Onnx
from concertina.export.onnx_shared import SharedExport
from concertina.export.openvino import OpenVino
from concertina.export.points import Exported, RealInputs, ToExport, export_point, export_points
from concertina.export.triton import (
    TritonPoint,
    TritonRepository,
    TritonVersion,
    check_model,
    check_place,
    export_triton,
)

__all__ = [
    "EAGER",
    "EXPORTERS",
    "LAYOUTS",
    "Agreement",
    "Exported",
    "Exporter",
    "ExporterTags",
    "Extracted",
    "Onnx",
    "OpenVino",
    "Program",
    "RealInputs",
    "SharedExport",
    "ToExport",
    "TritonPoint",
    "TritonRepository",
    "TritonVersion",
    "check",
    "check_model",
    "check_place",
    "export_point",
    "export_points",
    "export_triton",
    "extract",
    "runtimes",
]
