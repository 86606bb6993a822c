"""Everything that can be wrong with a folder of shards, one line each; a shard at a time, and none is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from diffusionlm.data.encode import content_fingerprint
from diffusionlm.data.journal import read_journal
from diffusionlm.data.shards import INDEX, TOKENIZER_FOLDER, Shard, read_index, read_shard
from diffusionlm.errors import DataError, TokenizerError
from diffusionlm.tokenizer import load_tokenizer

_TOKENS_AT_A_TIME = 1 << 22


@dataclass
class Verified:
    """What was found in a folder of shards.

    Attributes:
        folder: The folder.
        tokenizers: Fingerprint of a tokenizer → the first place that names it.
        problems: One line each.
        n_shards, n_documents, n_tokens, n_bytes: Totals of the good shards.
    """

    folder: Path
    tokenizers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    n_shards: int = 0
    n_documents: int = 0
    n_tokens: int = 0
    n_bytes: int = 0


def verify_shards(folder: Path) -> Verified:
    """Check a folder: its index, every shard to the last bit, and the tokenizer beside them.

    Args:
        folder: A folder with ``index.json``, that is one side of what make-data wrote.
    """
    found = Verified(folder)
    try:
        index = read_index(folder)
    except DataError as error:
        found.problems.append(str(error))
        entries = [{"file": path.name} for path in sorted(folder.glob("shard-*.bin"))]
    else:
        entries = index["shards"]
        found.tokenizers.setdefault(str(index["tokenizer"]), INDEX)
        found.problems.extend(_unlisted(folder, {entry["file"] for entry in entries}))
    hashes = []
    for entry in entries:
        hashes.extend(_one_shard(folder / entry["file"], entry, found))
    if not found.problems:
        index = read_index(folder)
        fingerprint = content_fingerprint(index["tokenizer"], hashes, found.n_documents, found.n_tokens)
        if fingerprint != index["fingerprint"]:
            found.problems.append(f"{str(folder / INDEX)!r} has another fingerprint than its shards; make it again")
        totals = {"n_documents": found.n_documents, "n_tokens": found.n_tokens, "n_bytes": found.n_bytes}
        if any(index[name] != total for name, total in totals.items()):
            found.problems.append(f"{str(folder / INDEX)!r} has other totals than its shards; make it again")
    try:
        read_journal(folder)
    except DataError as error:
        found.problems.append(str(error))
    _check_tokenizer(folder, found)
    return found


def _unlisted(folder: Path, listed: set[str]) -> Iterator[str]:
    for path in sorted(folder.glob("shard-*.bin")):
        if path.name not in listed:
            yield f"shard {str(path)!r} is not in {INDEX}; remove it, or copy the folder again"


def _one_shard(path: Path, entry: Mapping[str, object], found: Verified) -> list[np.ndarray]:
    """Check one shard; return the hashes of its documents if it is good."""
    try:
        shard = read_shard(path)
    except DataError as error:
        found.problems.append(str(error))
        return []
    found.tokenizers.setdefault(shard.header.tokenizer, path.name)
    wrong = list(_inconsistencies(shard))
    if len(entry) > 1 and {"file": path.name, **asdict(shard.header)} != entry:
        wrong.append(f"is not the one that {INDEX} names; copy or make the folder again")
    found.problems.extend(f"shard {str(path)!r} {what}" for what in wrong)
    if wrong:
        return []
    found.n_shards += 1
    found.n_documents += shard.header.n_documents
    found.n_tokens += shard.header.n_tokens
    found.n_bytes += shard.header.n_bytes
    return [shard.hashes]


def _inconsistencies(shard: Shard) -> Iterator[str]:
    """Yield what of a whole shard contradicts itself: only a writer that was wrong can have made such a one."""
    header, offsets = shard.header, shard.offsets
    if (shard.sizes < 1).any() or int(shard.sizes.sum()) != header.n_bytes:
        yield "has sizes that do not add up to its bytes; make it again"
    if not 0 <= header.eos_id < header.vocab_size or (shard.tokens[offsets[1:] - 1] != header.eos_id).any():
        yield f"has documents that do not end with token {header.eos_id}; make it again"
    for begin in range(0, header.n_tokens, _TOKENS_AT_A_TIME):
        largest = int(shard.tokens[begin : begin + _TOKENS_AT_A_TIME].max())
        if largest >= header.vocab_size:
            yield f"holds token {largest}, and its tokenizer has {header.vocab_size}; make it again"
            return


def _check_tokenizer(folder: Path, found: Verified) -> None:
    """Check that all tokens are of one tokenizer, and that it lies beside them."""
    if len(found.tokenizers) > 1:
        named = ", ".join(f"{where} {fingerprint[:12]}" for fingerprint, where in found.tokenizers.items())
        found.problems.append(f"shards in {str(folder)!r} are of several tokenizers ({named}); make them again")
    try:
        beside = load_tokenizer(folder / TOKENIZER_FOLDER).fingerprint()
    except TokenizerError as error:
        found.problems.append(str(error))
        return
    if found.tokenizers and beside not in found.tokenizers:
        (fingerprint, *_) = found.tokenizers
        found.problems.append(
            f"the tokenizer in {str(folder / TOKENIZER_FOLDER)!r} ({beside[:12]}) is not the one that made the shards "
            f"({fingerprint[:12]}); copy it again"
        )
