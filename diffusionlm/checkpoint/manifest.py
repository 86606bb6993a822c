"""The manifest of a checkpoint folder: the SHA-256 and size of every file, written last.

A folder without a manifest is a save that never finished; a folder whose files differ from its manifest is damaged. The
manifest itself must equal its own canonical rendering byte for byte, which holds a digest of its contents, so a flipped
bit in it is seen too. The rendering and the place of the version number are the same in every format version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from diffusionlm.errors import CheckpointError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileRecord:
    """What one file must be.

    Attributes:
        sha256: Hex digest of the contents.
        size: Length in bytes.
    """

    sha256: str
    size: int


def file_sha256(path: Path) -> str:
    """Return the SHA-256 hex digest of a file, read in blocks of a mebibyte."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def list_files(folder: Path) -> list[str]:
    """Return the relative POSIX names of the files under ``folder``, sorted, the manifest and hidden ones left out."""
    names = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(name for name in names if name != MANIFEST)


def render_manifest(files: Mapping[str, FileRecord], version: int = FORMAT_VERSION) -> bytes:
    """Return the canonical bytes of a manifest."""
    table = {name: {"sha256": files[name].sha256, "size": files[name].size} for name in sorted(files)}
    return _render({"format_version": version, "files": table})


def _render(body: dict[str, object]) -> bytes:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    sealed = {"digest": hashlib.sha256(canonical).hexdigest(), **body}
    return (json.dumps(sealed, indent=1, sort_keys=True) + "\n").encode()


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Return the record of every file under ``folder``."""
    return {name: FileRecord(file_sha256(folder / name), (folder / name).stat().st_size) for name in list_files(folder)}


def read_manifest(folder: Path) -> dict[str, FileRecord]:
    """Read and check the manifest of a checkpoint folder, but none of the files that it names.

    Raises:
        CheckpointError: No folder, no manifest, a damaged one, another format version, or a name outside the folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint at {folder}; give a run folder or one of its checkpoints/step-N folders")
    try:
        raw = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {MANIFEST} is missing, so it was never finished; use another one") from None
    except OSError as error:
        raise CheckpointError(f"{folder}: {MANIFEST} cannot be read ({error.strerror}); use another one") from error
    return _parse(folder, raw)


def _parse(folder: Path, raw: bytes) -> dict[str, FileRecord]:
    damaged = CheckpointError(f"{folder}: {MANIFEST} is damaged; use another checkpoint")
    try:
        body = json.loads(raw)
    except ValueError:
        raise damaged from None
    if not isinstance(body, dict) or body.pop("digest", None) is None or _render(body) != raw:
        raise damaged
    if "format_version" not in body or body["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: format version {body.get('format_version')}, but this flowlm reads version {FORMAT_VERSION}; "
            "open it with the flowlm release that wrote it"
        )
    try:
        files = {name: FileRecord(str(entry["sha256"]), int(entry["size"])) for name, entry in body["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise damaged from None
    for name in files:
        if not is_safe_name(name):
            raise CheckpointError(f"{folder}: {MANIFEST} names {name!r}, outside the folder; do not trust this folder")
    return files


def is_safe_name(name: str) -> bool:
    """Return whether a manifest name is a plain relative path inside the folder, in its one canonical spelling."""
    pure = PurePosixPath(name)
    plain = (
        bool(pure.parts) and not pure.is_absolute() and pure.as_posix() == name and "\\" not in name and ":" not in name
    )
    return plain and name.isprintable() and not any(part.startswith(".") for part in pure.parts) and name != MANIFEST


def check_sizes(folder: Path) -> dict[str, FileRecord]:
    """Check that every file of the manifest is there with its size and that no other is; contents are not read.

    Raises:
        CheckpointError: Naming the file and what is wrong with it.
    """
    files = read_manifest(folder)
    for name, record in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder}: {name} is missing; use another checkpoint")
        size = path.stat().st_size
        if size != record.size:
            what = "truncated" if size < record.size else "too long"
            raise CheckpointError(
                f"{folder}: {name} is {what} ({size} bytes, {record.size} written); use another checkpoint"
            )
    for name in list_files(folder):
        if name not in files:
            raise CheckpointError(f"{folder}: {name} is not part of the checkpoint; move it elsewhere")
    return files


def verify(folder: Path) -> dict[str, FileRecord]:
    """Check every file of a checkpoint against its manifest, contents included, and return the records.

    Raises:
        CheckpointError: Naming the first damaged file and what is wrong with it.
    """
    files = check_sizes(folder)
    for name, record in files.items():
        try:
            digest = file_sha256(folder / name)
        except OSError as error:
            raise CheckpointError(f"{folder}: {name} cannot be read ({error.strerror}); use another one") from error
        if digest != record.sha256:
            raise CheckpointError(f"{folder}: {name} is corrupted (its SHA-256 has changed); use another checkpoint")
    return files
