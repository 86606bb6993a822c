"""The table says what the number is; the JSON line says all of it."""

import io
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from diffusionlm.evaluation import (
    BaselineReport,
    LikelihoodReport,
    SourceReport,
    baseline_rows,
    reading,
    to_json,
    to_table,
    with_error,
)

REPORT = LikelihoodReport(
    nats_per_token=5.0,
    nats_per_token_error=0.05,
    bits_per_token=7.2135,
    bits_per_token_error=0.0721,
    bits_per_byte=3.0,
    bits_per_byte_error=0.03,
    error_unit="document",
    noise_error=0.01,
    tokens=123_456,
    bytes=296_295,
    documents=80,
    windows=500,
    draws=8,
    network_evaluations=4000,
    estimator="exact_count",
    bound="tight",
    bound_name="nelbo",
)
SOURCES = (
    SourceReport(1, "text 'a.txt'", REPORT),
    SourceReport(3, "text 'b.txt'", replace(REPORT, bits_per_byte=2.5, bits_per_byte_error=0.04)),
)
BASELINES = BaselineReport(8.006, 4.6, 3.5, None, 296_295, 80)


def printed(*arguments) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(to_table(*arguments))
    return stream.getvalue()


def test_the_json_line_holds_every_field():
    line = to_json(REPORT, BASELINES, checkpoint="runs/a/checkpoints/step-3")
    assert "\n" not in line
    assert json.loads(line) == {
        "checkpoint": "runs/a/checkpoints/step-3",
        **asdict(REPORT),
        "baselines": asdict(BASELINES),
        "sources": [],
    }
    assert json.loads(to_json(REPORT))["baselines"] is None


def test_each_source_is_in_the_json_line():
    told = json.loads(to_json(REPORT, None, SOURCES))["sources"]
    assert told == [
        {"source": 1, "text": "text 'a.txt'", **asdict(REPORT)},
        {"source": 3, "text": "text 'b.txt'", **asdict(SOURCES[1].likelihood)},
    ]


def test_a_diverged_model_is_valid_json():
    diverged = replace(REPORT, nats_per_token=float("nan"))
    told = json.loads(to_json(diverged, None, [SourceReport(1, "text 'a.txt'", diverged)]))
    assert told["nats_per_token"] is None
    assert told["sources"][0]["nats_per_token"] is None
    assert told["sources"][0]["bits_per_byte"] == 3.0


def test_the_table_has_a_line_for_each_source():
    text = printed(REPORT, BASELINES, SOURCES)
    rows = [line for line in text.splitlines() if "source " in line]
    assert ["source 1, bits per byte" in rows[0], "3.0000 ± 0.0300" in rows[0]] == [True, True]
    assert ["source 3, bits per byte" in rows[1], "2.5000 ± 0.0400" in rows[1]] == [True, True]
    assert len(rows) == 2
    assert "source" not in printed(REPORT, BASELINES)


def test_the_table_shows_values_errors_and_gains():
    text = printed(REPORT, BASELINES)
    for part in ("3.0000 ± 0.0300", "7.2135 ± 0.0721", "5.0000 ± 0.0500", "123,456", "296,295", "4,000", "± 0.0100"):
        assert part in text
    rows = {line.split("bits per byte")[0].strip(" │"): line for line in text.splitlines() if "," in line}
    assert "-34.8 %" in rows["byte unigram,"]
    assert "-14.3 %" in rows["byte bigram,"]
    assert "upper bound on the negative log-likelihood given the window lengths" in " ".join(text.split())
    assert "nats per token, error from the noise alone" in text


def test_the_table_does_without_baselines_and_errors():
    bare = replace(
        REPORT,
        nats_per_token_error=None,
        bits_per_token_error=None,
        bits_per_byte_error=None,
        noise_error=None,
        error_unit="none",
    )
    text = " ".join(printed(bare).split())
    assert "±" not in text
    assert "no standard error, take more draws" in text
    assert "unigram" not in text


@pytest.mark.parametrize(
    ("unit", "words"),
    [("document", "over documents"), ("window", "few documents"), ("draw", "this text only")],
)
def test_the_reading_names_the_unit_of_the_error(unit, words):
    sentence = reading(replace(REPORT, error_unit=unit))
    assert words in sentence
    assert "upper bound" in sentence
    assert "loose" not in sentence
    assert "not comparable with a tight bound" in reading(replace(REPORT, bound="loose"))
    assert "The negative log-likelihood itself" in reading(replace(REPORT, bound="exact"))
    assert "averaged over 8 noise levels per window" in sentence
    assert "averaged over 1 noise level per window" in reading(replace(REPORT, error_unit=unit, draws=1))


def test_small_forms():
    assert with_error(2.98768, 0.0123) == "2.9877 ± 0.0123"
    assert with_error(2.98768, None, digits=2) == "2.99"
    assert [name for name, _ in baseline_rows(BASELINES)] == ["byte uniform", "byte unigram", "byte bigram"]
    assert baseline_rows(replace(BASELINES, token_unigram=3.2))[-1] == ("token unigram", 3.2)
