"""The statistics of a text as a person reads them, and its most frequent tokens as both forms of output name them."""

from __future__ import annotations

from typing import Any

from diffusionlm.data.statistics import StoreStatistics
from diffusionlm.tokenizer import Tokenizer
from diffusionlm.tokenizer.visible import visible_tokens
from diffusionlm.workflows.tables import to_text


def statistics_text(found: StoreStatistics, tokenizer: Tokenizer | None, top: int) -> str:
    """Return the statistics as lines of a name and a value, and a table of the most frequent tokens.

    Args:
        found: The statistics.
        tokenizer: None: tokens have no text.
        top: How many of the most frequent tokens to list.
    """
    pairs = {
        "documents": f"{found.n_documents:,} ({_documents_words(found)})",
        "bytes": f"{found.n_bytes:,}",
        "tokens": f"{found.n_tokens:,}, one EOS for each document among them",
        "bytes per token": f"{found.bytes_per_token:.3f}",
        "tokens of a document": " · ".join(f"{name} {value:,.0f}" for name, value in found.length_quantiles().items()),
        **_rows_words(found),
        "vocabulary": _vocabulary_words(found),
    }
    width = max(map(len, pairs))
    lines = [f"{name:<{width}}  {value}" for name, value in pairs.items()]
    if top:
        lines += ["", _frequent_table(found, tokenizer, top)]
    return "\n".join(lines)


def token_records(found: StoreStatistics, tokenizer: Tokenizer | None, top: int) -> list[dict[str, Any]]:
    """Return the most frequent tokens as JSON objects: id, what it shows, count and share."""
    return [
        {"id": id, "text": _shown(id, tokenizer), "count": count, "share": count / found.n_tokens}
        for id, count in found.most_frequent(top)
    ]


def _documents_words(found: StoreStatistics) -> str:
    not_utf8 = "unknown without a tokenizer" if found.not_utf8 is None else f"{found.not_utf8:,}"
    return f"copies of earlier ones: {found.copies:,}; not UTF-8: {not_utf8}"


def _rows_words(found: StoreStatistics) -> dict[str, str]:
    rows = found.rows
    packed = f"{rows.packed:,} an epoch, {rows.packed_padding:.1%} padding"
    if rows.packed_left_out:
        packed += f", {rows.packed_left_out:,} tokens left for another epoch"
    windows = (
        f"{rows.windows:,} an epoch, {rows.windows_padding:.1%} padding; {rows.windows / found.n_documents:.2f} for a "
        f"document, {rows.windows_of_longest:,} for the longest, one for {rows.in_one / found.n_documents:.1%}"
    )
    return {f"rows of {rows.context_length}, packed": packed, "one document a row": windows}


def _vocabulary_words(found: StoreStatistics) -> str:
    if found.vocab_size is None or found.unused is None:
        return f"unknown size; {int((found.counts > 0).sum()):,} ids occur, the largest is {len(found.counts) - 1:,}"
    return f"{found.vocab_size:,} tokens, {found.unused:,} of them ({found.unused / found.vocab_size:.1%}) never occur"


def _frequent_table(found: StoreStatistics, tokenizer: Tokenizer | None, top: int) -> str:
    rows, total = [], 0
    for place, (id, count) in enumerate(found.most_frequent(top), start=1):
        total += count
        share, so_far = f"{count / found.n_tokens:.2%}", f"{total / found.n_tokens:.1%}"
        rows.append((str(place), str(id), _shown(id, tokenizer) or "", f"{count:,}", share, so_far))
    return to_text(("rank", "id", "token", "count", "share", "so far"), rows, right=(0, 1, 3, 4, 5))


def _shown(id: int, tokenizer: Tokenizer | None) -> str | None:
    """Return a token as it shows by itself, on one line and with its blanks visible."""
    if tokenizer is None:
        return None
    (text,) = visible_tokens([id], tokenizer, alone=True)
    return text.replace("⇥   ", "⇥").replace("\n", "").replace(" ", "␣")
