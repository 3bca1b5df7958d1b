"""The file: write a family, open it, read a prefix. Only numpy and the standard library."""

from concertina.save.artifact import Artifact, Content, Stage, open_artifact
from concertina.save.codec import from_json, to_json
from concertina.save.layout import Layout
from concertina.save.manifest import FORMAT_VERSION, Architecture, Manifest
from concertina.save.sources import ByteSource, BytesSource, FileSource
from concertina.save.tensors import DTYPES, TensorInfo
from concertina.save.writer import WriteReport, write_artifact

__all__ = [
    "DTYPES",
    "FORMAT_VERSION",
    "Architecture",
    "Artifact",
    "ByteSource",
    "BytesSource",
    "Content",
    "FileSource",
    "Layout",
    "Manifest",
    "Stage",
    "TensorInfo",
    "WriteReport",
    "from_json",
    "open_artifact",
    "to_json",
    "write_artifact",
]
