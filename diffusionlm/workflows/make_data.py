"""``flowlm make-data``: tokenize a text once into shards that training reads in place of the text.

The folder holds the two sides of the text, ``train`` and ``validation``, split as ``flowlm train`` splits the text
itself, and a trained tokenizer has seen the training side alone: a run on the shards is the run on the text.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.data.corpus import Corpus, open_corpus
from diffusionlm.data.documents import Documents
from diffusionlm.data.journal import continue_journal, read_journal
from diffusionlm.data.make import MadeData, claim_empty, remove_output
from diffusionlm.data.make import make_data as write_shards
from diffusionlm.data.shards import INDEX, TOKENIZER_FOLDER, is_temporary
from diffusionlm.data.sources.shards import TRAIN, VALIDATION
from diffusionlm.errors import DataError
from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.tokenizer import TOKENIZERS, Tokenizer, load_tokenizer
from diffusionlm.workflows.changes import flat
from diffusionlm.workflows.make_progress import MakeProgress
from diffusionlm.workflows.params import MakeDataParams
from diffusionlm.workflows.run_folder import check_writable
from diffusionlm.workflows.run_lock import lock_folder
from diffusionlm.workflows.talk import say, tell_warnings

SIDES = (VALIDATION, TRAIN)
"""The held-out side comes first: a folder with a finished ``train`` is then finished as a whole."""


@dataclass(frozen=True)
class MakeDataReport:
    """What was written.

    Attributes:
        folder: The folder of both sides.
        train, validation: Shards, documents, tokens and bytes of each side; None where nothing is held out.
        seconds: Time that it took, the tokenizer's training included.
        peak_mib: The most memory that the command and its workers held.
    """

    folder: Path
    train: MadeData
    validation: MadeData | None
    seconds: float
    peak_mib: float

    def report(self) -> str:
        """Return the product of the command: the folder of the shards."""
        return str(self.folder)


def make_data(params: MakeDataParams) -> MakeDataReport:
    """Write both sides of a text as shards, training the tokenizer first if it is a trained one.

    Raises:
        DataError: The text is missing or empty, one side of it is, or the output folder is not empty or does not fit.
        TokenizerError: The tokenizer cannot be had.
    """
    began = time.perf_counter()
    corpus = open_corpus(params.data)
    memory = PeakMemory()
    with _claimed(params.output, params.resume):
        made, work, bytes_done = _write_sides(corpus, params, memory)
    report = MakeDataReport(params.output, made[TRAIN], made.get(VALIDATION), time.perf_counter() - began, memory.mib)
    _tell(report, params.deduplicate, bytes_done / work / 1e6 if work else None)
    return report


def _write_sides(corpus: Corpus, params: MakeDataParams, memory: PeakMemory) -> tuple[dict[str, MadeData], float, int]:
    """Write both sides; return what was made, and the seconds and bytes of this run's tokenizing."""
    sides = {side: documents for side, documents in zip(SIDES, (corpus.validation, corpus.train)) if documents}
    settings = {side: _settings(params, documents) for side, documents in sides.items()}
    tokenizer = _open_tokenizer(params, corpus, settings)
    made: dict[str, MadeData] = {}
    seconds, done = 0.0, 0
    for side, documents in sides.items():
        folder = params.output / side
        journal = read_journal(folder) if params.resume else None
        before = 0 if journal is None else journal.n_bytes
        if journal is not None and journal.duplicates is None and journal.shards:
            say(f"{side}: going on after {journal.n_documents:,} documents in {len(journal.shards):,} shards")
        began = time.perf_counter()
        with MakeProgress(side, before, documents.expected_bytes, memory) as progress:
            made[side] = write_shards(
                documents,
                tokenizer,
                folder,
                shard_tokens=params.shard_tokens,
                workers=params.data.workers,
                deduplicate=params.deduplicate,
                resume=params.resume is not None,
                settings=settings[side],
                progress=progress,
            )
        seconds += time.perf_counter() - began
        done += made[side].n_bytes - before
    return made, seconds if done else 0.0, done


def _settings(params: MakeDataParams, documents: Documents) -> dict[str, Any]:
    """Return what decides the shards' bytes: the configuration by dotted key, and the corpus by its fingerprint."""
    tables = params.model_dump(mode="json", exclude_none=True, exclude={"output": True, "resume": True})
    del tables["data"]["workers"]
    return {**flat(tables), "corpus": documents.fingerprint}


def _open_tokenizer(params: MakeDataParams, corpus: Corpus, settings: dict[str, dict[str, Any]]) -> Tokenizer:
    """Return the tokenizer: the one that an earlier run has trained, where it is resumed.

    Raises:
        DataError: The run that should go on was begun with other settings.
        TokenizerError: It cannot be had.
    """
    recipe = TOKENIZERS.build(params.tokenizer)
    for side, given in settings.items() if params.resume else ():
        folder = params.output / side
        journal = read_journal(folder)
        if journal is None:
            continue
        # The shards' own tokenizer is compared when they go on; a trained one is taken from beside them.
        continue_journal(folder, {**given, "tokenizer": journal.settings["tokenizer"]})
        if recipe.trains and (folder / TOKENIZER_FOLDER).is_dir():
            return load_tokenizer(folder / TOKENIZER_FOLDER)
    with tell_warnings():
        return recipe.build(lambda: corpus.train)


@contextmanager
def _claimed(output: Path, resume: str | None) -> Iterator[None]:
    """Keep the output folder for this run; if nothing comes of it, leave it as it was.

    Raises:
        DataError: The folder holds something that is not to go on, is in use, or cannot be written any more.
    """
    existed = output.is_dir()
    check_writable(output)
    if not (resume and existed and _may_go_on(output)):
        _refuse_made(output)
        claim_empty(output)
    descriptor = lock_folder(output)
    if descriptor is None:
        raise DataError(f"output folder {str(output)!r} is in use by another run; wait for its end, or choose another")
    try:
        yield
    except BaseException as error:
        _leave(output, existed, error)
        raise
    finally:
        os.close(descriptor)


def _may_go_on(output: Path) -> bool:
    """Return whether a folder holds what make-data began, or what a process leaves that was killed before that."""
    begun = any(read_journal(output / side) is not None for side in SIDES)
    return begun or all(path.is_dir() or is_temporary(path) for path in output.rglob("*"))


def _refuse_made(output: Path) -> None:
    """Refuse, with the advice that fits, to write where make-data has written."""
    begun = [side for side in SIDES if read_journal(output / side) is not None]
    if begun:
        done = (output / TRAIN / INDEX).is_file()
        what, advice = ("finished shards", "") if done else ("unfinished shards", "add --resume auto to go on, ")
        raise DataError(
            f"output folder {str(output)!r} is not empty: it holds {what}; {advice}choose another one, or remove it"
        )


def _leave(output: Path, existed: bool, error: BaseException) -> None:
    """Keep the finished shards and say how to go on from them; where there are none, leave nothing.

    Raises:
        DataError: In place of what the system says of a disk that is full or not writable.
    """
    journals = [journal for side in SIDES if (journal := read_journal(output / side)) is not None]
    kept = sum(len(journal.shards) for journal in journals)
    if not kept:
        for side in SIDES:
            remove_output(output / side, existed=False)
        if not existed and output.is_dir() and not any(output.iterdir()):
            output.rmdir()
    words = f"{kept} finished shards are kept" if kept else "no shard was finished"
    if isinstance(error, OSError):
        reason = "no space left on the device" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        advice = "the same command with --resume auto goes on" if kept else "run the same command again"
        raise DataError(f"cannot write to {str(output)!r}: {reason}; {words}: mend that, and {advice}") from error
    if isinstance(error, KeyboardInterrupt) and kept:
        say(f"{words}; to go on: the same command with --resume auto")


def _tell(report: MakeDataReport, deduplicated: bool, speed: float | None) -> None:
    for side, one in ((VALIDATION, report.validation), (TRAIN, report.train)):
        if one is not None:
            copies = f", {one.n_duplicates:,} copies left out" if deduplicated else ""
            memory = f" ({one.digest_bytes / 1e6:.1f} MB of digests)" if one.digest_bytes else ""
            say(
                f"{side}: {one.n_documents:,} documents, {one.n_bytes / 1e6:.1f} MB, {one.n_tokens:,} tokens in "
                f"{one.n_shards} shards{copies}{memory}"
            )
    rate = "" if speed is None else f", {speed:.1f} MB/s of text"
    say(
        f"{report.seconds:.1f} s{rate}, peak memory {report.peak_mib:,.0f} MiB; train on them with "
        f"data.source.name=shards, data.source.path={report.folder}, "
        f"tokenizer.name=files, tokenizer.path={report.folder / TRAIN / TOKENIZER_FOLDER}"
    )
