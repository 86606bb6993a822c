"""Bench of the tokenizer next to other libraries: training, encoding, decoding, memory, and the time to the first ids.

flowlm-bench-tokenizer --set output=benchmarking/results/tokenizer.csv

We train a vocabulary with GPT-2's pattern and give it to each library that can read one. Their ids and texts must be
ours, document by document, before anything is timed.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarking.measure import Quantiles, pair_ratios
from benchmarking.rows import TokenizerRow, append, check_header, here
from benchmarking.tokenizer_libraries import (
    LIBRARIES,
    ONE_THREAD,
    Library,
    installed,
    one_thread,
    open_library,
    read_texts,
    write_texts,
)
from benchmarking.tokenizer_start import PATTERN, RANKS
from benchmarking.worker import Contender, Facts, Measured, in_turns
from diffusionlm.data.sources import SOURCES
from diffusionlm.errors import DataError, TokenizerError
from diffusionlm.runlog.resident import resident_mib
from diffusionlm.tokenizer import BPETokenizer, train_bpe
from diffusionlm.tokenizer.compiled import cores
from diffusionlm.tokenizer.pretokenize import GPT2_PATTERN
from diffusionlm.workflows.params import BenchTokenizerParams
from diffusionlm.workflows.talk import say, tell_warnings

OURS = "flowlm"
TASKS = ("train", "encode", "encode_batch", "decode")
COMPARED = 256
"""Documents that are compared at a time."""


@dataclass(frozen=True)
class TokenizerBench:
    """What the bench found.

    Attributes:
        rows: One for each task and library, ours first.
        agreed: The libraries that read our vocabulary, all of the same mind.
        tokens, documents: How many ids of how many texts were compared.
        alike: Share of our vocabulary's tokens that a library's own trainer finds as well; ties are broken differently.
    """

    rows: tuple[TokenizerRow, ...]
    agreed: tuple[str, ...]
    tokens: int
    documents: int
    alike: dict[str, float]

    def report(self) -> str:
        """Return one line of JSON."""
        rows = [asdict(row) for row in self.rows]
        facts = {"agreed": self.agreed, "tokens": self.tokens, "documents": self.documents, "alike": self.alike}
        return json.dumps({"bench": "tokenizer", **facts, "rows": rows})

    def card(self) -> str:
        """Return the result for people."""
        one = self.rows[0]
        lines = [
            f"tokenizer on {one.device}, {cores()} cores: {one.corpus}, {one.megabytes:.2f} MB in {self.documents} "
            f"documents, vocabulary {one.vocabulary}",
            f"the same {self.tokens} ids by every library that reads our vocabulary: {', '.join(self.agreed)}",
            "",
            f"{'task':<14}{'library':<22}{'MB/s':>9}{'p20 ms':>11}{'p50 ms':>11}{'p80 ms':>11}{'peak MiB':>10}"
            f"{'of it':>8}   {OURS} is faster",
        ]
        for row in self.rows:
            rate = "" if row.mb_per_second is None else f"{row.mb_per_second:.2f}"
            ratio = "" if row.ratio_p50 is None else f"{row.ratio_p50:.2f}× ({row.ratio_p20:.2f} … {row.ratio_p80:.2f})"
            memory = f"{row.peak_mb:>10.0f}{row.peak_mb - row.base_mb:>8.0f}" if row.peak_mb else f"{'':>18}"
            lines.append(
                f"{row.task:<14}{row.contender + ' ' + row.version:<22}{rate:>9}{row.p20_ms:>11.1f}{row.p50_ms:>11.1f}"
                f"{row.p80_ms:>11.1f}{memory}   {ratio}".rstrip()
            )
        for name, share in self.alike.items():
            lines.append(f"{name}'s trainer finds {share:.1%} of our tokens (ties are broken differently)")
        return "\n".join([*lines, "", *EXPLANATION])


EXPLANATION = (
    "encode, decode: one thread.  encode_batch, train: all cores.  of it: peak without the process and the text.",
    "start: from the first import to the first ids, our functions from Numba's cache; start_cold: compiled first;",
    "start_short: our reference path, which short texts take.  Libraries run in turns, each in its own process;",
    "faster: the quantiles p50 (p20 … p80) over neighbouring rounds.",
)


class Task(Contender):
    """One library at one task."""

    def __init__(self, name: str, task: str, folder: Path, vocab_size: int) -> None:
        if task in ONE_THREAD:
            one_thread()
        self.task, self.vocab_size = task, vocab_size
        self.texts = read_texts(folder)
        self.base_mb = resident_mib()
        self.library = LIBRARIES[name]() if task == "train" else open_library(name, folder)
        self.ids = self.library.encode(self.texts) if task == "decode" else []
        self.tokens: set[bytes] = set()

    def prepare(self, round_: int) -> None:
        """Nothing to prepare."""

    def run(self) -> None:
        if self.task == "train":
            self.tokens = self.library.train(self.texts, self.vocab_size)
        elif self.task == "encode":
            self.library.encode(self.texts)
        elif self.task == "encode_batch":
            self.library.encode_batch(self.texts)
        else:
            self.library.decode(self.ids)

    def facts(self) -> Facts:
        """Return the tokens that it has learned."""
        return {"tokens": self.tokens}


def build_task(name: str, task: str, folder: Path, vocab_size: int) -> Contender:
    """Return a library at a task as a contender."""
    return Task(name, task, folder, vocab_size)


def bench_tokenizer(params: BenchTokenizerParams) -> TokenizerBench:
    """Compare, then measure; the card goes to stderr, rows to ``params.output``.

    Raises:
        FlowLMError: The text or the output file is not what it should be, or a library's ids are not ours.
    """
    if params.output is not None:
        check_header(params.output, TokenizerRow)
    rivals = [name for name in params.rivals if installed(name)]
    for name in params.rivals:
        if name not in rivals:
            say(f"{name} is not installed and left out; the dev group has it (uv sync)")
    source = SOURCES.build(params.source)
    texts = [text for text in (document.decode(errors="replace") for document in source.read()) if text]
    if not texts:
        raise DataError(f"there is no text in {source.describe()}; give a source with at least one document")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with tell_warnings():
            ours = train_bpe(texts, params.vocab_size)
        _write(folder, ours, texts)
        agreed = (OURS, *(name for name in rivals if LIBRARIES[name].encodes))
        tokens = sum(same_ids(folder, texts, agreed))
        say(f"{len(texts)} documents, {tokens} ids: the same by {', '.join(agreed)}")
        facts = {
            "corpus": params.source.name,  # its path would be this machine's, and rows are kept
            "megabytes": sum(len(text.encode()) for text in texts) / 1e6,
            "vocabulary": ours.vocab_size,
        }
        rows, alike = [], {}
        for task in TASKS:
            names = [OURS, *(name for name in rivals if _does(LIBRARIES[name], task))]
            say(f"{task}: {', '.join(names)} in turns, {params.warmup} + {params.repeats} rounds each")
            measured = _measure(params, folder, task, names)
            rows += _rows(task, measured, facts)
            alike |= _alike(measured) if task == "train" else {}
        rows += _starts(params, folder, agreed, facts)
    result = TokenizerBench(tuple(rows), agreed, tokens, len(texts), alike)
    say(result.card())
    if params.output is not None:
        append(params.output, rows)
    return result


def same_ids(folder: Path, texts: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return how many ids each text has, once every library has given ours, and the text for them.

    Raises:
        TokenizerError: One gives others.
    """
    libraries = {name: open_library(name, folder) for name in names}
    sizes: list[int] = []
    for begin in range(0, len(texts), COMPARED):
        some = texts[begin : begin + COMPARED]
        expected = libraries[OURS].encode(some)
        for name, library in libraries.items():
            found = zip(some, expected, library.encode(some), strict=True)
            for number, (text, wanted, got) in enumerate(found, begin):
                _check_document(name, number, wanted, got)
                if library.decode([got]) != [text]:
                    raise TokenizerError(f"{name} does not give back the text of document {number}; nothing was timed")
        sizes += map(len, expected)
    return sizes


def _check_document(name: str, number: int, wanted: list[int], got: list[int]) -> None:
    if wanted != got:
        both = list(zip(wanted, got))
        place = next((i for i, (mine, theirs) in enumerate(both) if mine != theirs), len(both))
        raise TokenizerError(
            f"{name} gives other ids than {OURS} for document {number}, from token {place} on; nothing was timed"
        )


def _write(folder: Path, ours: BPETokenizer, texts: Sequence[str]) -> None:
    """Write what the processes of the bench read: the vocabulary in each library's format, and the texts."""
    ours.save(folder)
    ranks = sorted(ours._vocab.items(), key=lambda item: item[1])
    lines = [base64.b64encode(token) + b" " + str(id).encode() for token, id in ranks]
    (folder / RANKS).write_bytes(b"\n".join(lines))
    (folder / PATTERN).write_text(GPT2_PATTERN, encoding="utf-8")
    write_texts(folder, texts)


def _does(library: type[Library], task: str) -> bool:
    return library.trains if task == "train" else library.encodes


def _measure(params: BenchTokenizerParams, folder: Path, task: str, names: Sequence[str]) -> dict[str, Measured]:
    contenders = {name: (build_task, (name, task, folder, params.vocab_size)) for name in names}
    return in_turns(contenders, warmup=params.warmup, repeats=params.repeats)


def _alike(measured: dict[str, Measured]) -> dict[str, float]:
    ours = measured[OURS].facts["tokens"]
    return {name: len(one.facts["tokens"] & ours) / len(ours) for name, one in measured.items() if name != OURS}


def _rows(task: str, measured: dict[str, Measured], facts: dict[str, Any]) -> list[TokenizerRow]:
    """Return a row for each library, its ratio to ours where it is not ours."""
    rows = []
    for name, mine in measured.items():
        time = Quantiles.of([1000.0 * seconds for seconds in mine.seconds])
        ratio: dict[str, Any] = {"ratio_p20": None, "ratio_p50": None, "ratio_p80": None}
        if name != OURS:
            pairs = pair_ratios(measured[OURS].seconds, mine.seconds)
            ratio = {f"ratio_{quantile}": value for quantile, value in asdict(pairs).items()}
        rows.append(
            TokenizerRow(
                **here("", mine.threads if task.startswith("start") or task in ONE_THREAD else cores()),  # type: ignore[arg-type]
                **facts,
                contender=name,
                version=LIBRARIES[name].version(),
                task=task,
                repeats=len(mine.seconds),
                p20_ms=time.p20,
                p50_ms=time.p50,
                p80_ms=time.p80,
                mb_per_second=None if task.startswith("start") else facts["megabytes"] / time.p50 * 1000.0,
                base_mb=mine.base_mb,
                peak_mb=mine.peak_mb,
                **ratio,
            )
        )
    return rows


def _starts(
    params: BenchTokenizerParams, folder: Path, names: Sequence[str], facts: dict[str, Any]
) -> list[TokenizerRow]:
    """Return the rows of the time to the first ids, every start in a process of its own."""
    say(f"start: {params.cold_starts} with nothing compiled, then in turns, {params.repeats} rounds each")
    seconds: dict[str, dict[str, list[float]]] = {"start_cold": {OURS: []}, "start_short": {OURS: []}, "start": {}}
    for number in range(params.cold_starts):
        with tempfile.TemporaryDirectory() as cache:
            say(f"  compiling, {number + 1} of {params.cold_starts}")
            seconds["start_cold"][OURS].append(start(OURS, folder, Path(cache), compiled=True))
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place)
        start(OURS, folder, cache, compiled=True)
        for _ in range(params.repeats):
            seconds["start_short"][OURS].append(start(OURS, folder, cache, compiled=False))
            for name in names:
                taken = start(name, folder, cache, compiled=True)
                seconds["start"].setdefault(name, []).append(taken)
    rows = []
    for task, libraries in seconds.items():
        measured = {name: Measured(some, {}, 0.0, 0.0, 1, "") for name, some in libraries.items() if some}
        rows += _rows(task, measured, facts)
    return rows


def start(name: str, folder: Path, cache: Path, *, compiled: bool) -> float:
    """Return the seconds that a fresh process takes from its first import to its first ids.

    Args:
        name: The library.
        folder: Its vocabulary.
        cache: Where Numba keeps what it has compiled.
        compiled: Use our compiled path.
    """
    command = [sys.executable, "-m", "benchmarking.tokenizer_start", name, str(folder), *["compiled"] * compiled]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the start of {name} failed:\n{done.stderr}")
    return float(done.stdout.split()[0])
