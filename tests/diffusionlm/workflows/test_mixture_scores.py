"""A run on a mixture: each source is scored by itself, while it trains, at its end and by eval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from diffusionlm.data.store import store_in_memory
from diffusionlm.evaluation import LikelihoodReport, SourceReport, SourceSpan
from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.training.loop import Progress
from diffusionlm.workflows.corpus import HeldOutText
from diffusionlm.workflows.evaluate import evaluate
from diffusionlm.workflows.params import EvalParams, TrainParams
from diffusionlm.workflows.train import TrainReport, train
from diffusionlm.workflows.train_words import score_words
from tests.diffusionlm.data.doubles import ListDocuments, texts
from tests.diffusionlm.workflows.runs import configuration, lines_of, write_text


def parameters(folder: Path, **validation: object) -> TrainParams:
    """Return a run on two sources; one is the same letter over and over, the other the usual text."""
    usual, letters = write_text(folder), folder / "letters.txt"
    letters.write_text("<|endoftext|>".join("a" * n for n in range(60, 140)), encoding="utf-8")
    sources = [{"name": "text", "path": str(path)} for path in (usual, letters)]
    plain = configuration(usual, folder / "run", validation={"every": 20, "rows": 40, **validation})
    data = {
        "mixture": [{"source": source, "weight": 1.0} for source in sources],
        "validation_fraction": 0.2,
        "cache": "none",
    }
    training = {**plain.training.model_dump(), "steps": 60}
    return TrainParams.model_validate({**plain.model_dump(), "data": data, "training": training})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    return train(parameters(tmp_path_factory.mktemp("mixture"), final_tokens=1_000))


def scored(run: TrainReport, **values: object) -> EvalParams:
    return EvalParams.model_validate({"checkpoint": str(run.checkpoint), "draws": 4, "device": "cpu", **values})


def assert_parts_of(whole: LikelihoodReport, sources: Sequence[SourceReport]) -> None:
    """The sources' documents, tokens, bytes and bits are together those of the whole, and each has an error."""
    parts = [source.likelihood for source in sources]
    for name in ("documents", "windows", "tokens", "bytes"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name
    bits = sum(part.bits_per_byte * part.bytes for part in parts)
    assert bits == pytest.approx(whole.bits_per_byte * whole.bytes, rel=1e-9)
    assert all(part.bits_per_byte_error is not None and part.bits_per_byte_error > 0 for part in parts)


def test_while_it_trains(run: TrainReport) -> None:
    scores = [line for line in lines_of(run.folder) if "validation/bits_per_byte" in line]
    assert len(scores) >= 3
    for line in scores:
        one, other = (line[f"validation/source_{number}/bits_per_byte"] for number in (1, 2))
        assert min(one, other) <= line["validation/bits_per_byte"] <= max(one, other)
        assert all(line[f"validation/source_{number}/error"] > 0 for number in (1, 2))
    assert scores[-1]["validation/source_2/bits_per_byte"] < scores[-1]["validation/source_1/bits_per_byte"]


def test_at_its_end(run: TrainReport) -> None:
    assert run.scores is not None
    assert run.likelihood is not None
    assert_parts_of(run.likelihood, run.sources)
    assert run.likelihood.tokens < 1_500, "a part of the text was scored, spread over both sources"
    one, other = run.sources
    assert other.likelihood.bits_per_byte < one.likelihood.bits_per_byte
    said = score_words(run.scores, Progress(step=60))
    for source in run.sources:
        value, error = source.likelihood.bits_per_byte, source.likelihood.bits_per_byte_error
        assert f"source {source.number}       {value:.3f} ± {error:.3f} bits per byte" in said
    assert "text.txt'\n" in said


def test_eval_from_the_checkpoint_alone(run: TrainReport) -> None:
    report = evaluate(scored(run))
    assert_parts_of(report.likelihood, report.sources)
    assert [source.number for source in report.sources] == [1, 2]
    assert re.search(r"source 1: the validation side of text '.*text\.txt'\n", report.report())
    for source in report.sources:
        value, error = source.likelihood.bits_per_byte, source.likelihood.bits_per_byte_error
        assert re.search(rf"source {source.number}, bits per byte +│ +{value:.4f} ± {error:.4f} ", report.report())
    told = report.record()["sources"]
    assert [(one["source"], one["bits_per_byte"]) for one in told] == [
        (source.number, source.likelihood.bits_per_byte) for source in report.sources
    ]
    assert all(one["text"].endswith(f"{name}.txt'") for one, name in zip(told, ("text", "letters")))


def test_every_source_is_in_the_smallest_part_of_the_text() -> None:
    store = store_in_memory(ListDocuments(texts([20] * 30)), ByteTokenizer())
    spans = (SourceSpan(1, "a", 0, 27), SourceSpan(2, "b", 27, 29), SourceSpan(3, "c", 29, 30))
    part = HeldOutText(store, spans).spread(210)
    assert [(span.begin, span.end) for span in part.spans] == [(0, 9), (9, 10), (10, 11)]
    assert part.store.n_documents == 11
    assert part.store.document(9).tolist() == store.document(27).tolist()
    assert HeldOutText(store, spans).spread(10**9).store is store
    assert HeldOutText(store).spread(210).store.n_documents == 10


def test_a_source_s_score_is_that_of_its_text_alone(run: TrainReport, tmp_path: Path) -> None:
    """Up to the noise, which depends on the number of a document: alone it is another one."""
    together = evaluate(scored(run, draws=32)).sources[1].likelihood
    documents = (run.folder.parent / "letters.txt").read_bytes().split(b"<|endoftext|>")
    held_out = [text for text in documents if hashlib.sha256(text).digest()[0] < 0.2 * 256]
    path = tmp_path / "held_out.txt"
    path.write_bytes(b"<|endoftext|>".join(held_out))
    alone = evaluate(scored(run, draws=32, source={"name": "text", "path": str(path)})).likelihood
    assert (together.documents, together.tokens, together.bytes) == (alone.documents, alone.tokens, alone.bytes)
    assert together.documents == len(held_out) > 5
    assert together.noise_error is not None
    assert abs(together.nats_per_token - alone.nats_per_token) < 5 * together.noise_error


def test_the_first_documents_are_of_the_first_source(run: TrainReport) -> None:
    report = evaluate(scored(run, documents=2))
    assert [(source.number, source.likelihood.documents) for source in report.sources] == [(1, 2)]
    assert report.sources[0].likelihood.bits_per_byte == report.likelihood.bits_per_byte
