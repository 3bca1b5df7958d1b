"""The file: write a family, open it, read a prefix. Only numpy and the standard library."""

from concertina.save.address import is_address
from concertina.save.artifact import Artifact, Content, Stage, open_artifact
from concertina.save.codec import from_json, to_json
from concertina.save.layout import Layout
from concertina.save.link import Patience
from concertina.save.manifest import FORMAT_VERSION, Architecture, Manifest
from concertina.save.remote import HttpSource
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
    "HttpSource",
    "Layout",
    "Manifest",
    "Patience",
    "Stage",
    "TensorInfo",
    "WriteReport",
    "from_json",
    "is_address",
    "open_artifact",
    "to_json",
    "write_artifact",
]
