"""Subnets leave the family here, as files that other tools read."""

from concertina.export.base import EAGER, EXPORTERS, Exporter, ExporterTags, Program, runtimes
from concertina.export.check import Agreement, check
from concertina.export.folder import Extracted, extract
from concertina.export.onnx import Onnx
from concertina.export.onnx_shared import SharedExport
from concertina.export.openvino import OpenVino
from concertina.export.points import Exported, RealInputs, ToExport, export_point, export_points

__all__ = [
    "EAGER",
    "EXPORTERS",
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
    "check",
    "export_point",
    "export_points",
    "extract",
    "runtimes",
]
