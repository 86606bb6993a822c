"""Where text comes from, one file per kind of source; a new one is one file and one import line here."""

from diffusionlm.data.sources.base import Source
from diffusionlm.data.sources.folder import FolderSource
from diffusionlm.data.sources.huggingface import HuggingFaceSource
from diffusionlm.data.sources.jsonl import JSONLSource
from diffusionlm.data.sources.parquet import ParquetSource
from diffusionlm.data.sources.python_stdlib import PythonStdlibSource
from diffusionlm.data.sources.shards import ShardsSource
from diffusionlm.data.sources.text import TextSource
from diffusionlm.registry import Registry

SOURCES: Registry[Source] = Registry("data source", Source, globals())

__all__ = [
    "SOURCES",
    "FolderSource",
    "HuggingFaceSource",
    "JSONLSource",
    "ParquetSource",
    "PythonStdlibSource",
    "ShardsSource",
    "Source",
    "TextSource",
]
