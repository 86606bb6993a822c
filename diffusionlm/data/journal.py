"""What a folder of shards knows of its own making, so that it can go on after it was cut off at any moment.

``journal.json`` (see ``resume.py``) is replaced, whole, whenever a shard has been finished, and holds the finished ones
in order. The cursor into the corpus is their number of documents: a shard ends where a document does, and what follows
depends on nothing before it. A shard that was finished and is not in the journal is made again, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusionlm.data.resume import JOURNAL, Kind, check_settings, read_record, write_record
from diffusionlm.data.shards import ShardHeader, read_shard, remove_temporaries
from diffusionlm.errors import DataError

SHARDS = Kind("flowlm-journal", "the shards", "they were begun with", "they end with", "make its shards again")


@dataclass(frozen=True)
class FinishedShard:
    """A shard that is on the disk.

    Attributes:
        file: Its name.
        header: What it says about itself.
        last_document: The hash of its last document, by which a corpus that has shifted is noticed.
    """

    file: str
    header: ShardHeader
    last_document: int


class Journal:
    """The record of a folder.

    Args:
        folder: The folder of shards.
        settings: Everything that decides the shards' bytes, by name; JSON values.
        shards: The finished ones, in order.
        duplicates: Copies that were left out in all; None until the folder is done.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        shards: tuple[FinishedShard, ...] = (),
        duplicates: int | None = None,
    ) -> None:
        self.folder, self.settings = folder, dict(settings)
        self.shards, self.duplicates = list(shards), duplicates

    @property
    def headers(self) -> list[ShardHeader]:
        """The finished shards' headers."""
        return [shard.header for shard in self.shards]

    @property
    def n_documents(self) -> int:
        """Documents in the finished shards: where to go on."""
        return sum(header.n_documents for header in self.headers)

    @property
    def n_tokens(self) -> int:
        """Tokens in the finished shards."""
        return sum(header.n_tokens for header in self.headers)

    @property
    def n_bytes(self) -> int:
        """Bytes of text in the finished shards."""
        return sum(header.n_bytes for header in self.headers)

    def add(self, shard: FinishedShard) -> None:
        """Record a shard that has just been finished."""
        self.shards.append(shard)
        self.save()

    def finish(self, duplicates: int) -> None:
        """Record that the last shard has been finished."""
        self.duplicates = duplicates
        self.save()

    def save(self) -> None:
        """Write the journal.

        Raises:
            OSError: The disk is full or not writable; the journal is the one before.
        """
        shards = [asdict(shard) for shard in self.shards]
        write_record(self.folder, SHARDS, self.settings, duplicates=self.duplicates, shards=shards)


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of a folder of shards; None if it has none.

    Raises:
        DataError: It is damaged or of another version.
    """

    def build(record: dict[str, Any]) -> Journal:
        shards = [{**shard, "header": ShardHeader(**shard["header"])} for shard in record["shards"]]
        finished = tuple(FinishedShard(**shard) for shard in shards)
        return Journal(folder, record["settings"], finished, record["duplicates"])

    return read_record(folder, SHARDS, build)


def continue_journal(folder: Path, settings: Mapping[str, Any]) -> Journal | None:
    """Return the journal of a folder whose making may go on under these settings; None if it was not begun.

    What a killed process left half-written is removed.

    Raises:
        DataError: It was begun with other settings, or a finished shard is missing, cut off or another one.
    """
    remove_temporaries(folder)
    journal = read_journal(folder)
    if journal is None:
        return None
    check_settings(folder, SHARDS, journal.settings, settings)
    for shard in journal.shards:
        if read_shard(folder / shard.file, verify=False).header != shard.header:
            raise DataError(
                f"shard {str(folder / shard.file)!r} is not the one that {JOURNAL} names; remove the folder and make "
                "its shards again"
            )
    return journal
