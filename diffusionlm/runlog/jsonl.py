"""JSON lines: the record of a run that is always written and that any tool can read.

One object a line, appended and flushed line by line, so that a killed process loses at most the line it was writing. A
number that is not finite becomes ``null`` and is named under ``"nonfinite"``: the file stays valid JSON. When a run
resumes, the file is cut back to the checkpoint's step, so that it reads as if the run had never stopped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TextIO

from diffusionlm.errors import CheckpointError, DataError

NONFINITE = "nonfinite"
"""Key of the object that names the values which were NaN or infinite: name to "nan", "inf" or "-inf"."""

Scalar = float | int | str | bool | None


def plain(value: object) -> Scalar:
    """Return a number or text as a Python one; numpy's numbers become Python's.

    Raises:
        TypeError: It is neither (a tensor, say: what is logged has already been moved to the host).
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"only numbers, text and None can be logged, got {type(value).__name__}")


def encode(record: Mapping[str, Any]) -> str:
    """Return one line of JSON without its newline; numbers that are not finite become null and are named.

    A number inside a nested object is named by its path with dots: ``"values.loss"``.
    """
    nonfinite: dict[str, str] = {}
    cleaned = {name: _finite(value, name, nonfinite) for name, value in record.items()}
    if nonfinite:
        cleaned[NONFINITE] = nonfinite
    return json.dumps(cleaned, ensure_ascii=False, allow_nan=False)


def _finite(value: Any, path: str, nonfinite: dict[str, str]) -> Any:
    """Return the value with null for what JSON cannot say, and note it in ``nonfinite``."""
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite[path] = str(value)
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner, f"{path}.{name}", nonfinite) for name, inner in value.items()}
    return value


def read_jsonl(path: Path, *, restore_nonfinite: bool = False) -> list[dict[str, Any]]:
    """Return the records of a file; a torn last line (the process died while writing it) is left out.

    Args:
        path: The file.
        restore_nonfinite: Turn the nulls named under ``"nonfinite"`` back into NaN and infinities.

    Raises:
        DataError: The file is missing, or a line other than the last is no JSON object.
    """
    if not path.is_file():
        raise DataError(f"there is no log at {path}: give a run folder that holds {path.name}")
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = _decode(line)
        if record is None:
            if line and number < len(lines):
                raise DataError(f"{path} line {number} is no JSON object: the log was damaged; remove that line")
            continue
        if restore_nonfinite and NONFINITE in record:
            _restore(record, record.pop(NONFINITE))
        records.append(record)
    return records


def _restore(record: dict[str, Any], nonfinite: Mapping[str, str]) -> None:
    """Put back the numbers that ``encode`` named."""
    for path, text in nonfinite.items():
        if path in record:
            record[path] = float(text)
        else:
            parent, _, name = path.partition(".")
            record[parent][name] = float(text)


def _decode(line: bytes) -> dict[str, Any] | None:
    """Return the object on a line, or None if there is none."""
    try:
        record = json.loads(line)
    except ValueError:  # torn in the middle, also in the middle of a character
        return None
    return record if isinstance(record, dict) else None


def truncate_jsonl(path: Path, step: int) -> int:
    """Cut a log back to the records of ``step`` and before, atomically; damaged lines go too.

    Returns:
        How many lines went. A missing file has none.
    """
    if not path.is_file():
        return 0
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    kept = [line for line in lines if (record := _decode(line)) is not None and record["step"] <= step]
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in kept))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _write_error(path, error) from error
    return len(lines) - len(kept)


class JsonlWriter:
    """Appends records to a file, one flushed line each. A torn last line left by a dead process is cut off first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records.

        Raises:
            CheckpointError: The file cannot be written (no space left, no permission).
        """
        text = "".join(encode(record) + "\n" for record in records)
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                cut_torn_line(self.path)
                # A lone surrogate becomes \udXXX, which is JSON's own escape for it.
                self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n", buffering=1)
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise _write_error(self.path, error) from error

    def truncate(self, step: int) -> int:
        """Cut the file back to records of ``step`` and before; writing goes on at the new end."""
        self.close()
        return truncate_jsonl(self.path, step)

    def close(self) -> None:
        """Close the file; a later ``write`` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def cut_torn_line(path: Path) -> None:
    """Cut what follows the last newline of a file, if anything does."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _write_error(path: Path, error: OSError) -> CheckpointError:
    reason = error.strerror or str(error)
    return CheckpointError(f"cannot write {path}: {reason}; make room or choose another run folder, then resume")
