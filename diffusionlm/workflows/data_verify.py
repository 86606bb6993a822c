"""``flowlm data verify``: whether a folder of shards is what it says, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.checkpoint import load_checkpoint, resolve_checkpoint
from diffusionlm.data.journal import read_journal
from diffusionlm.data.sources.shards import TRAIN, VALIDATION
from diffusionlm.data.verify import Verified, verify_shards
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import load_tokenizer
from diffusionlm.workflows.params import DataVerifyParams
from diffusionlm.workflows.talk import plural


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        sides: What was found in each folder of shards.
        problems: All that is wrong, one line each.
    """

    sides: tuple[Verified, ...]
    problems: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong, else 2."""
        return 2 if self.problems else 0

    def record(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        sides = {
            str(side.folder): {
                "shards": side.n_shards,
                "documents": side.n_documents,
                "tokens": side.n_tokens,
                "bytes": side.n_bytes,
                "tokenizers": list(side.tokenizers),
            }
            for side in self.sides
        }
        return {"ok": not self.problems, "problems": list(self.problems), "folders": sides}

    def report(self) -> str:
        """Return a line for each problem, or one that says that all is well."""
        if self.problems:
            return "\n".join(self.problems)
        counts = [(side.n_shards, side.n_documents, side.n_tokens, side.n_bytes) for side in self.sides]
        shards, documents, tokens, size = map(sum, zip(*counts))
        (tokenizer,) = {name for side in self.sides for name in side.tokenizers}
        return (
            f"all well: {plural(shards, 'shard')}, {plural(documents, 'document')}, {tokens:,} tokens of "
            f"{size / 1e6:,.1f} MB of text, tokenizer {tokenizer[:12]}"
        )


def data_verify(params: DataVerifyParams) -> VerifyReport:
    """Check every shard of a folder, and that one tokenizer made them: the one beside them, and the one given.

    Raises:
        DataError: The folder does not exist.
        CheckpointError, TokenizerError: What the shards should be compared with cannot be read.
    """
    wanted = list(_wanted(params))
    sides = tuple(verify_shards(folder) for folder in _folders(params.folder))
    problems = [problem for side in sides for problem in side.problems]
    if _lacks_validation(params.folder):
        problems.append(
            f"folder {str(params.folder)!r} has no validation side, and one was made; copy or make it again"
        )
    fingerprints = {name for side in sides for name in side.tokenizers}
    if len(fingerprints) > 1 and all(len(side.tokenizers) == 1 for side in sides):
        problems.append(f"the sides of {str(params.folder)!r} are of different tokenizers; make them again")
    for fingerprint, where in wanted:
        for side in sides:
            if side.tokenizers and fingerprint not in side.tokenizers:
                (made_by, *_) = side.tokenizers
                problems.append(
                    f"shards in {str(side.folder)!r} were made by another tokenizer ({made_by[:12]}) than {where} "
                    f"({fingerprint[:12]}); make them again with it"
                )
    return VerifyReport(sides, tuple(problems))


def _folders(folder: Path) -> list[Path]:
    """Return the folders of shards in what make-data wrote, or the folder itself."""
    if not folder.is_dir():
        raise DataError(f"shard folder {str(folder)!r} does not exist; make it with flowlm-make-data")
    sides = [folder / side for side in (TRAIN, VALIDATION) if (folder / side).is_dir()]
    if sides and not (folder / TRAIN).is_dir():
        raise DataError(f"folder {str(folder)!r} has no training side: it was not finished; make it again")
    return sides or [folder]


def _lacks_validation(folder: Path) -> bool:
    """Return whether documents were held out, as the training side's journal says, and their side is not there."""
    if (folder / VALIDATION).is_dir():
        return False
    journal = read_journal(folder / TRAIN)
    return journal is not None and bool(journal.settings.get("data.validation_fraction"))


def _wanted(params: DataVerifyParams) -> Iterator[tuple[str, str]]:
    """Yield the fingerprints that the shards' tokenizer must have, and whose they are."""
    if params.tokenizer is not None:
        yield load_tokenizer(params.tokenizer).fingerprint(), f"{str(params.tokenizer)!r}"
    if params.checkpoint is not None:
        path = resolve_checkpoint(params.checkpoint).path
        yield load_checkpoint(path).tokenizer_fingerprint, f"checkpoint {str(path)!r}"
