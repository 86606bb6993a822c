"""What every folder that is made over hours knows of its own making, and how what does not belong to it is refused.

``journal.json`` names the kind of the folder and holds ``settings``, all that decides its bytes (configuration by
dotted key, corpus and tokenizer by fingerprint), beside what the kind itself has to say. It is replaced whole, and it
stays when all is done, as the record of what the folder was made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffusionlm.data.shards import write_atomically
from diffusionlm.data.split import document_hash
from diffusionlm.errors import DataError

JOURNAL = "journal.json"
VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What a folder is made to hold, for the journal and for messages.

    Attributes:
        format: Its name in the journal.
        product: "the shards".
        begun: "they were begun with".
        last: "they end with", said of a document.
        again: "make its shards again".
    """

    format: str
    product: str
    begun: str
    last: str
    again: str


def write_record(folder: Path, kind: Kind, settings: Mapping[str, Any], **content: Any) -> None:
    """Write the journal of a folder.

    Raises:
        OSError: The disk is full or not writable; the journal is the one before.
    """
    record = {"format": kind.format, "version": VERSION, "settings": dict(settings), **content}
    write_atomically(folder / JOURNAL, [(json.dumps(record, indent=1) + "\n").encode()])


def read_record(folder: Path, kind: Kind, build: Callable[[dict[str, Any]], T]) -> T | None:
    """Return what the journal of a folder holds; None if it has none of this kind.

    Args:
        folder, kind: The folder, and what it is made to hold.
        build: Makes the result of the journal's table, ``settings`` a table in it; its ValueError, KeyError or
            TypeError means a damaged journal.

    Raises:
        DataError: It is damaged or of another version.
    """
    path = folder / JOURNAL
    try:
        record = json.loads(path.read_bytes())
        version = record["version"]
        if version == VERSION:
            whole = {**record, "settings": dict(record["settings"])}
            return build(whole) if record["format"] == kind.format else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{str(path)!r} is damaged; remove the folder and {kind.again}") from None
    raise DataError(
        f"{str(path)!r} has format version {version}, this program reads {VERSION}; remove the folder and {kind.again}"
    )


def check_settings(folder: Path, kind: Kind, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than a folder was begun with.

    Raises:
        DataError: Names the first that differs.
    """
    for name in [*now, *before]:
        if name in before and name in now and before[name] == now[name]:
            continue
        was, is_ = (_shown(values[name]) if name in values else "unset" for values in (before, now))
        change = f"changed from {was} to {is_}" if name in ("corpus", "tokenizer") else f"was {was}, now it is {is_}"
        raise DataError(
            f"cannot go on with {kind.product} in {str(folder)!r}: {name} {change}; give what {kind.begun}, or "
            "choose another output folder"
        )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:13]}…{text[-1]}"


def documents_after(
    documents: Iterable[bytes], done: int, last_document: int | None, folder: Path, kind: Kind
) -> Iterator[bytes]:
    """Yield the documents behind the first ``done``, which are read and passed over.

    Args:
        documents: The corpus.
        done: How many the folder has had.
        last_document: The hash of the last of them, by which a corpus that has shifted is noticed.
        folder, kind: What goes on, for the message.

    Raises:
        DataError: The documents before them are not those that the folder has had.
    """
    rest, last = iter(documents), None
    for _ in range(done):
        last = next(rest, None)
    if done and (last is None or document_hash(last) != last_document):
        raise DataError(
            f"cannot go on with {kind.product} in {str(folder)!r}: document {done} of the corpus is not the one that "
            f"{kind.last}; give the corpus that {kind.begun}, or choose another output folder"
        )
    yield from rest
