"""Token shards: tokenized documents in files that know what they are and notice damage.

A shard file, everything little-endian:

    8 bytes   magic
    4 bytes   format version (uint32)
    4 bytes   length H of the header (uint32)
    32 bytes  SHA-256 of the header
    H bytes   header: JSON with the tokenizer's fingerprint, token type, counts and the SHA-256 of the payload
    zeros     up to a multiple of 64 bytes
    payload   document offsets int64 (D + 1), UTF-8 bytes of each document int64 (D), first 64 bits of the SHA-256 of
              each document uint64 (D), tokens uint16 or uint32 (N)

A folder of shards holds ``index.json``, written last, and the tokenizer's files, so that the text can be read back and
a run needs nothing else. The documents' hashes let shards be split, or searched for copies, without decoding them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusionlm.data.encode import EncodedDocuments
from diffusionlm.data.store import TokenStore
from diffusionlm.errors import DataError

MAGIC = b"FLOWLMTK"
VERSION = 1
INDEX = "index.json"
TOKENIZER_FOLDER = "tokenizer"
_PREFIX = struct.Struct("<8sII32s")
_ALIGN = 64
_TOTALS = ("tokenizer", "fingerprint", "n_documents", "n_tokens", "n_bytes")


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself."""

    tokenizer: str
    vocab_size: int
    eos_id: int
    dtype: str
    n_documents: int
    n_tokens: int
    n_bytes: int
    sha256: str

    @property
    def payload_bytes(self) -> int:
        """The size that follows from the counts."""
        return 8 * (3 * self.n_documents + 1) + np.dtype(self.dtype).itemsize * self.n_tokens


@dataclass(frozen=True)
class Shard:
    """An open shard; tokens are mapped from the file, the tables are in memory.

    Attributes:
        header: The header.
        offsets: (D + 1,) int64, where documents begin in ``tokens``.
        sizes: (D,) int64, UTF-8 bytes.
        hashes: (D,) uint64.
        tokens: (N,) uint16 or uint32.
    """

    header: ShardHeader
    offsets: np.ndarray
    sizes: np.ndarray
    hashes: np.ndarray
    tokens: np.ndarray


def write_shard(
    path: Path, parts: Sequence[EncodedDocuments], *, tokenizer: str, vocab_size: int, eos_id: int
) -> ShardHeader:
    """Write documents as one shard file, through a temporary sibling, so that the file is whole or absent.

    Args:
        path: Where the shard goes.
        parts: The documents.
        tokenizer: The tokenizer's fingerprint.
        vocab_size, eos_id: The tokenizer's.

    Raises:
        OSError: The disk is full or not writable; nothing is left behind.
    """
    lengths = np.concatenate([part.lengths for part in parts])
    sizes = np.concatenate([part.sizes for part in parts]).astype("<i8")
    sections = [
        np.concatenate(([0], np.cumsum(lengths))).astype("<i8"),
        sizes,
        np.concatenate([part.hashes for part in parts]).astype("<u8"),
        *(part.tokens for part in parts),
    ]
    digest = hashlib.sha256()
    for section in sections:
        digest.update(section.data)
    dtype = parts[0].tokens.dtype.str
    header = ShardHeader(
        tokenizer, vocab_size, eos_id, dtype, len(lengths), int(lengths.sum()), int(sizes.sum()), digest.hexdigest()
    )
    text = json.dumps(asdict(header), sort_keys=True).encode()
    prefix = _PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text
    write_atomically(path, [prefix + bytes(-len(prefix) % _ALIGN), *(section.data for section in sections)])
    return header


def write_atomically(path: Path, chunks: Sequence[bytes | memoryview]) -> None:
    """Write a file through a temporary sibling: flushed to the disk, then renamed, and the folder flushed too.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            for chunk in chunks:
                handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_temporary(path: Path) -> bool:
    """Return whether a path is what an atomic writer (this one, ``save_whole``) leaves when its process is killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes have left in a folder; nobody may be writing there."""
    for left in [path for path in folder.glob(".*") if is_temporary(path)]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def read_shard(path: Path, verify: bool = True) -> Shard:
    """Open a shard.

    Args:
        path: The file.
        verify: Read all of it once and compare its SHA-256; sizes and the header are always checked.

    Raises:
        DataError: The file is missing, not a shard, of another version, truncated or damaged.
    """
    header, payload = _read_header(path)
    expected, actual = payload + header.payload_bytes, path.stat().st_size
    if actual != expected:
        raise DataError(
            f"shard {str(path)!r} is {'truncated' if actual < expected else 'too long'}: {actual} bytes where its "
            f"header says {expected}; copy or make it again"
        )
    if verify:
        with path.open("rb") as handle:
            handle.seek(payload)
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest != header.sha256:
            raise DataError(
                f"shard {str(path)!r} is damaged: its SHA-256 is not the recorded one; copy or make it again"
            )
    with path.open("rb") as handle:
        handle.seek(payload)
        offsets = np.fromfile(handle, dtype="<i8", count=header.n_documents + 1)
        sizes = np.fromfile(handle, dtype="<i8", count=header.n_documents)
        hashes = np.fromfile(handle, dtype="<u8", count=header.n_documents)
        if offsets[0] != 0 or offsets[-1] != header.n_tokens or (np.diff(offsets) < 1).any():
            raise DataError(
                f"shard {str(path)!r} has offsets that are not those of documents end to end; make it again"
            )
        tokens = np.memmap(path, np.dtype(header.dtype), mode="r", offset=handle.tell(), shape=(header.n_tokens,))
    return Shard(header, offsets, sizes, hashes, tokens)


def _read_header(path: Path) -> tuple[ShardHeader, int]:
    """Return the header and where the payload begins."""
    try:
        with path.open("rb") as handle:
            prefix = handle.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size or prefix[: len(MAGIC)] != MAGIC:
                raise DataError(f"{str(path)!r} is not a token shard; make shards with flowlm-make-data")
            _, version, length, digest = _PREFIX.unpack(prefix)
            text = handle.read(length) if version == VERSION else b""
            padding = handle.read(-(_PREFIX.size + length) % _ALIGN)
    except OSError as error:
        raise DataError(f"cannot read shard {str(path)!r}: {error.strerror}; copy or make it again") from None
    if version != VERSION:
        raise DataError(
            f"shard {str(path)!r} has format version {version}, this program reads {VERSION}; make it again"
        )
    if hashlib.sha256(text).digest() != digest:
        raise DataError(f"shard {str(path)!r} is damaged: its header does not match its hash; copy or make it again")
    if any(padding):
        raise DataError(f"shard {str(path)!r} is damaged: not zeros after its header; copy or make it again")
    try:
        header = ShardHeader(**json.loads(text))
        readable = header.dtype in ("<u2", "<u4") and header.n_documents > 0 and header.payload_bytes > 0
    except (ValueError, TypeError):
        readable = False
    if not readable:  # the hash is right: a writer that was wrong
        raise DataError(f"shard {str(path)!r} has a header that says nothing of use; make it again")
    return header, _PREFIX.size + length + len(padding)


def write_index(folder: Path, files: Sequence[str], headers: Sequence[ShardHeader], fingerprint: str) -> None:
    """Write ``index.json``: which shards the folder holds; its presence says that the folder is complete."""
    index = {
        "format": "flowlm-shards",
        "version": VERSION,
        "tokenizer": headers[0].tokenizer,
        "fingerprint": fingerprint,
        "n_documents": sum(header.n_documents for header in headers),
        "n_tokens": sum(header.n_tokens for header in headers),
        "n_bytes": sum(header.n_bytes for header in headers),
        "shards": [{"file": file, **asdict(header)} for file, header in zip(files, headers, strict=True)],
    }
    write_atomically(folder / INDEX, [(json.dumps(index, indent=1) + "\n").encode()])


def open_shards(folder: Path, verify: bool = True) -> TokenStore:
    """Open a folder of shards as a store mapped from its files.

    Args:
        folder: A folder that ``make_data`` finished.
        verify: Compare the SHA-256 of every shard.

    Raises:
        DataError: The folder is missing or unfinished, or a shard is missing, damaged or not the one in the index.
    """
    index = read_index(folder)
    entries, shards = index["shards"], []
    for entry in entries:
        shard = read_shard(folder / entry["file"], verify)
        if {"file": entry["file"], **asdict(shard.header)} != entry:
            path = str(folder / entry["file"])
            raise DataError(f"shard {path!r} is not the one that {INDEX} names; copy or make the folder again")
        shards.append(shard)
    first = shards[0].header
    bases = np.cumsum([0, *(shard.header.n_tokens for shard in shards)])
    store = TokenStore(
        [shard.tokens for shard in shards],
        np.concatenate([shard.offsets[:-1] + base for shard, base in zip(shards, bases)]),
        np.concatenate([np.diff(shard.offsets) for shard in shards]),
        np.concatenate([shard.sizes for shard in shards]),
        np.concatenate([shard.hashes for shard in shards]),
        eos_id=first.eos_id,
        tokenizer_fingerprint=first.tokenizer,
    )
    made_by = {(shard.header.tokenizer, shard.header.eos_id, shard.header.vocab_size) for shard in shards}
    if store.fingerprint != index["fingerprint"] or len(made_by) > 1:
        raise DataError(
            f"{str(folder / INDEX)!r} has another fingerprint than its shards; copy or make the folder again"
        )
    return store


def read_index(folder: Path) -> dict[str, Any]:
    """Return what ``index.json`` says.

    Raises:
        DataError: The folder or the file is missing, damaged or of another version.
    """
    path = folder / INDEX
    if not folder.is_dir():
        raise DataError(f"shard folder {str(folder)!r} does not exist; make it with flowlm-make-data")
    if not path.is_file():
        raise DataError(
            f"folder {str(folder)!r} has no {INDEX}: it is no shard folder or was not finished; make it again"
        )
    try:
        index = json.loads(path.read_bytes())
        version, entries, _ = index["version"], index["shards"], [index[key] for key in _TOTALS]
        complete = bool(entries)
        if not all(_is_name(entry["file"]) for entry in entries):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{str(path)!r} is damaged; copy or make the folder again") from None
    if version != VERSION:
        raise DataError(f"{str(path)!r} has format version {version}, this program reads {VERSION}; make it again")
    if not complete:
        raise DataError(f"{str(path)!r} lists no shards; copy or make the folder again")
    return index


def _is_name(value: Any) -> bool:
    """Return whether a value can name a file of the folder itself."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & set(value)
