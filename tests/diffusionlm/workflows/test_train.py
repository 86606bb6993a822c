"""A tiny run from a text to a checkpoint: what it leaves, what it logs, and what opens it again."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffusionlm
import diffusionlm.workflows.train as workflow
from diffusionlm.checkpoint import Best, load_checkpoint
from diffusionlm.errors import CheckpointError, ConfigError, DataError, DivergedError, PairingError
from diffusionlm.evaluation.ce_curve import TIMES
from diffusionlm.training.signals import Terminated
from diffusionlm.workflows.evaluate import evaluate
from diffusionlm.workflows.infer import infer
from diffusionlm.workflows.infill import infill
from diffusionlm.workflows.params import EvalParams, InferParams, InfillParams, TrainParams
from diffusionlm.workflows.train import TrainReport, train
from tests.diffusionlm.workflows.runs import STEPS, configuration, lines_of, write_text


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainReport:
    folder = tmp_path_factory.mktemp("train")
    return train(configuration(write_text(folder), folder / "run"))


class TestTheRunFolder:
    def test_files(self, run: TrainReport):
        names = {path.name for path in run.folder.iterdir()}
        assert names == {"config.toml", "run.json", "metrics.jsonl", "samples.jsonl", "tokenizer", "checkpoints"}
        assert run.checkpoint == run.folder / "checkpoints" / f"step-{STEPS}"
        kept = {path.name for path in (run.folder / "checkpoints").iterdir()}
        assert {"step-8", "step-12"} <= kept <= {"step-4", "step-5", "step-8", "step-10", "step-12"}

    def test_the_configuration_is_the_resolved_one(self, run: TrainReport):
        tables = tomllib.loads((run.folder / "config.toml").read_text(encoding="utf-8"))
        again = TrainParams.model_validate(tables)
        assert again.model.width == 32
        assert again.objective.name == "nelbo"
        assert again.run.folder == run.folder

    def test_the_provenance(self, run: TrainReport):
        [session] = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["sessions"]
        assert {"git", "started"} <= set(session)
        assert session["versions"]["torch"] == str(torch.__version__).split("+")[0]
        assert session["seed"] == 3

    def test_metrics(self, run: TrainReport):
        lines = lines_of(run.folder)
        steps = [line for line in lines if "loss" in line]
        assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
        for line in steps:
            for name in ("time", "tokens_per_second", "bits_per_byte", "gradient/norm"):
                assert math.isfinite(line[name]), name
        assert steps[0]["loss"] == pytest.approx(math.log(257), rel=0.35)
        rates = [line["learning_rate/hidden"] for line in steps]
        assert rates[0] < rates[2] > rates[-1] > 0
        validated = [line for line in lines if "validation/bits_per_byte" in line]
        assert [line["step"] for line in validated] == [5, 10, 12]
        assert all(line["validation/error"] > 0 for line in validated)

    def test_validation_uses_the_same_rows_and_noise_each_time(self, run: TrainReport, tmp_path: Path):
        """With a learning rate of nothing the value does not move."""
        text = write_text(tmp_path)
        still = configuration(text, tmp_path / "still", optimizer={"name": "adamw", "lr": 0.0})
        train(still)
        values = {line.get("validation/bits_per_byte") for line in lines_of(tmp_path / "still")} - {None}
        assert len(values) == 1

    def test_samples(self, run: TrainReport):
        tables = lines_of(run.folder, "samples.jsonl")
        assert [(line["step"], line["table"]) for line in tables] == [(STEPS, "samples"), (STEPS, "infilled")]
        assert tables[0]["values"]["prompt"] == "the "
        filled = tables[1]["values"]["text"]
        assert filled.startswith("the ")
        assert filled.endswith(" of")

    def test_the_report(self, run: TrainReport):
        assert run.outcome.reason == "finished"
        assert run.exit_code == 0
        assert run.likelihood is not None
        assert run.baselines is not None
        assert 3.0 < run.likelihood.bits_per_byte < 9.0
        best = load_checkpoint(run.checkpoint).state.best
        validated = {
            line["step"]: line["validation/bits_per_byte"]
            for line in lines_of(run.folder)
            if "validation/bits_per_byte" in line
        }
        assert best is not None
        assert (best.step, best.value) == min(validated.items(), key=lambda item: item[1])
        assert (run.folder / "checkpoints" / f"step-{best.step}").is_dir()

    def test_no_thread_is_left_behind(self, run: TrainReport):
        assert [thread.name for thread in threading.enumerate() if thread.name == "flowlm-data"] == []


class TestOpeningItAgain:
    def test_eval_scores_the_held_out_text(self, run: TrainReport):
        report = evaluate(EvalParams(checkpoint=str(run.folder), draws=4, device="cpu"))
        assert run.likelihood is not None
        assert report.likelihood.bits_per_byte == pytest.approx(run.likelihood.bits_per_byte, rel=0.25)
        assert report.baselines is not None
        record = report.record()
        assert record["checkpoint"] == str(run.checkpoint)
        for shown in ("bits per byte", "unigram", "bigram", "uniform"):
            assert shown in report.report()

    def test_eval_on_another_text_from_the_checkpoint_alone(self, run: TrainReport, tmp_path: Path):
        alone = tmp_path / "moved"
        run.checkpoint.rename(alone)
        try:
            source = {"name": "text", "path": str(write_text(tmp_path, seed=5))}
            params = EvalParams.model_validate(
                {"checkpoint": str(alone), "source": source, "documents": 3, "draws": 4, "device": "cpu"}
            )
            by_batch = [
                evaluate(params.model_copy(update={"batch_size": size})).likelihood.bits_per_byte for size in (1, 32)
            ]
            assert by_batch[0] == pytest.approx(by_batch[1], rel=1e-5)
        finally:
            alone.rename(run.checkpoint)

    def test_infer(self, run: TrainReport):
        params = InferParams.model_validate(
            {
                "checkpoint": str(run.folder),
                "prompts": ("the flow", ""),
                "generation": {"length": 6, "steps": 3, "samples": 2},
                "device": "cpu",
            }
        )
        samples = list(infer(params))
        assert [sample.prompt for sample in samples] == ["the flow", "the flow", "", ""]
        assert [sample.number for sample in samples] == [0, 1, 2, 3]
        assert all(sample.text.startswith(sample.prompt) for sample in samples)
        assert [sample.text for sample in infer(params)] == [sample.text for sample in samples]
        assert json.dumps(samples[0].record())

    def test_infill(self, run: TrainReport):
        params = InfillParams.model_validate(
            {
                "checkpoint": f"{run.folder}@best",
                "texts": ("the <|hole:3|> of <|hole:2|> é",),
                "generation": {"steps": 5},
                "device": "cpu",
            }
        )
        [filled] = infill(params)
        assert filled.text.startswith("the ")
        assert " of " in filled.text
        assert filled.text.endswith(" é")

    def test_python(self, run: TrainReport):
        model = diffusionlm.load(str(run.folder), device="cpu")
        assert len(model.generate(["the ", "a"], length=5, steps=2, samples=2)) == 4
        assert model.infill("the <|hole:4|> data", steps=2)[0].text.endswith(" data")
        report = model.score(["the flow of noise to data", "a path"], draws=16)
        assert report.documents == 2
        assert report.bytes == 31
        raw = diffusionlm.load(str(run.folder), device="cpu", weights="model")
        assert raw.score("the flow", draws=4).bits_per_byte != model.score("the flow", draws=4).bits_per_byte

    def test_a_missing_checkpoint_is_one_line(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match="does not exist; give a run folder") as raised:
            diffusionlm.load(str(tmp_path / "nothing"))
        assert "\n" not in str(raised.value)


def test_an_empty_text_is_refused_before_anything_is_written(tmp_path: Path):
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(DataError) as raised:
        train(configuration(tmp_path / "text.txt", tmp_path / "run"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"samples": {"prompts": ("the " * 10,)}}, r"samples\.prompts 1 is longer than the context: 40 tokens"),
        (
            {"samples": {"prompts": ("", "the flow of noise is")}, "generation": {"length": 16}},
            "samples.prompts 2 of 20 t",
        ),
        ({"samples": {"infill": ("no hole",)}}, r"samples\.infill 1 has no hole"),
        ({"samples": {"infill": ("the <|hole:x|>",)}}, r"<\|hole:x\|>. is no hole"),
        ({"samples": {"infill": ("the <|hole:30|>",)}}, r"samples\.infill 1 is longer than the context: 34 tokens"),
        ({"generation": {"length": 8, "steps": 3, "block_length": 2}}, "3 steps are too few for 4 blocks of 2"),
    ],
)
def test_samples_that_cannot_be_made_are_refused_before_training(tmp_path: Path, sections: dict, said: str):
    with pytest.raises(ConfigError, match=said) as raised:
        train(configuration(write_text(tmp_path), tmp_path / "run", **sections))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_that_runs_out_of_text_says_so_in_one_line(tmp_path: Path, capsys):
    train(
        configuration(
            write_text(tmp_path),
            tmp_path / "run",
            tokenizer={"name": "bpe", "vocab_size": 5000},
            training={"steps": 1},
            lr_schedule={"name": "constant", "warmup_steps": 0},
        )
    )
    [line] = [line for line in capsys.readouterr().err.splitlines() if "ran out of pairs" in line]
    assert line.startswith("warning: the corpus ran out of pairs")


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (Terminated(signal.SIGTERM), 143)])
def test_the_exit_code_of_a_finished_run_names_the_signal(tmp_path: Path, monkeypatch, stop: BaseException, code: int):
    def interrupt(*rest: object) -> None:
        raise stop

    monkeypatch.setattr(workflow, "sample_tables", interrupt)
    assert train(configuration(write_text(tmp_path), tmp_path / "run", training={"steps": 2})).exit_code == code


@pytest.mark.parametrize("at", ["scores", "samples"])
def test_ctrl_c_after_the_last_step_ends_with_130(tmp_path: Path, capsys, monkeypatch, at: str):
    """Training is over and saved: what follows can be interrupted like any command."""

    def interrupt(*rest: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal did not interrupt")

    if at == "scores":
        monkeypatch.setattr(workflow.HeldOut, "final", interrupt)
    else:
        monkeypatch.setattr(workflow, "sample_tables", interrupt)
    report = train(configuration(write_text(tmp_path), tmp_path / "run", training={"steps": 2}))
    assert report.exit_code == 130
    assert (report.likelihood is None) == (at == "scores")
    err = capsys.readouterr().err
    assert err.endswith(f"interrupted: training had finished, and {report.checkpoint} is saved\n")
    assert ("bits per byte" in err) == (at == "samples")
    assert load_checkpoint(report.checkpoint).state.step == 2


def test_a_validation_that_is_not_finite_is_never_the_best(tmp_path: Path, monkeypatch):
    original, values = workflow.HeldOut.score, iter([math.nan, 7.0, math.nan])

    def score(self, parts):
        report, of_sources = original(self, parts)
        return replace(report, bits_per_byte=next(values), bits_per_byte_error=None), of_sources

    monkeypatch.setattr(workflow.HeldOut, "score", score)
    report = train(configuration(write_text(tmp_path), tmp_path / "run"))
    assert load_checkpoint(report.checkpoint).state.best == Best("validation/bits_per_byte", 7.0, 10)
    validated = [line for line in lines_of(tmp_path / "run") if "validation/bits_per_byte" in line]
    assert [line["validation/bits_per_byte"] for line in validated] == [None, 7.0, None]
    assert not any("validation/error" in line for line in validated)


def test_a_run_that_is_never_finite_can_be_saved(tmp_path: Path, monkeypatch):
    """A NaN has no place in state.json; the run saves all the same."""
    original = workflow.TrainStep.__call__

    def step(self, *rest):
        result = original(self, *rest)
        return replace(result, loss=result.loss * math.nan)

    monkeypatch.setattr(workflow.TrainStep, "__call__", step)
    report = train(configuration(write_text(tmp_path), tmp_path / "run", training={"steps": 2}))
    assert "smoothed_loss" not in load_checkpoint(report.checkpoint).state.counters


def test_a_clock_that_does_not_belong_to_the_vocabulary_is_a_warning_of_one_line(tmp_path: Path, capsys):
    """In training and whenever the checkpoint is opened; one that cannot be computed leaves no folder behind."""
    process = {"name": "logit", "max_t": 0.3}
    report = train(configuration(write_text(tmp_path), tmp_path / "run", process=process, training={"steps": 2}))
    told = [line for line in capsys.readouterr().err.splitlines() if "max_t" in line]
    assert [line[: line.index(" makes")] for line in told] == ["warning: process.max_t = 0.3"]
    list(infer(InferParams(checkpoint=str(report.folder), device="cpu")))
    assert capsys.readouterr().err.splitlines()[0] == told[0]
    for wrong in ({"accuracy": 0.003}, {"max_t": 0.99}):
        with pytest.raises(ConfigError, match="leaves the clock nothing to run over") as raised:
            train(configuration(write_text(tmp_path), tmp_path / "no", process={"name": "logit", **wrong}))
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "no").exists()


def test_a_run_that_diverged_is_saved_without_samples(tmp_path: Path, capsys):
    sections = {"optimizer": {"name": "adamw", "lr": 1e30}, "training": {"steps": 5}}
    report = train(configuration(write_text(tmp_path), tmp_path / "run", **sections))
    assert report.exit_code == 0
    assert report.checkpoint.is_dir()
    assert "step 5: no samples: the network's answer is not a number" in capsys.readouterr().err
    assert not (tmp_path / "run" / "samples.jsonl").exists()
    with pytest.raises(DivergedError, match="its training diverged"):
        list(infer(InferParams(checkpoint=str(report.folder), device="cpu", prompts=("the ",))))


@pytest.mark.parametrize(
    ("process", "objective"), [("keep", "ce"), ("keep", "ce_all"), ("logit", "ce"), ("logit_updated", "ce")]
)
def test_a_process_without_a_bound_is_validated_by_cross_entropy(
    tmp_path: Path, capsys, process: str, objective: str
) -> None:
    """Under names of its own, at fixed times; nothing that is logged, said or kept claims bits per byte."""
    params = configuration(
        write_text(tmp_path), tmp_path / "run", process={"name": process}, objective={"name": objective}
    )
    report = train(params)
    assert report.likelihood is None
    assert report.baselines is None
    lines = lines_of(tmp_path / "run")
    assert not [key for line in lines for key in line if "bits_per_byte" in key or "perplexity" in key]
    validated = [line for line in lines if "validation/ce" in line]
    assert [line["step"] for line in validated] == [5, 10, 12]
    for line in validated:
        points = [line[f"validation/ce_at_{t:g}"] for t in TIMES]
        assert line["validation/ce"] == pytest.approx(sum(points) / len(points))
        assert all(math.isfinite(nats) and nats > 0 for nats in points)
        assert points[0] == pytest.approx(math.log(257), rel=0.35)
    best = load_checkpoint(report.checkpoint).state.best
    assert best is not None
    assert best.metric == "validation/ce"
    assert best.value == min(line["validation/ce"] for line in validated)
    told = capsys.readouterr().err
    assert "bits per byte" not in told
    assert "bits/byte" not in told
    with pytest.raises(PairingError, match=f"process '{process}' has no likelihood bound.*nothing to evaluate"):
        evaluate(EvalParams(checkpoint=str(report.folder), device="cpu"))


def test_without_validation(tmp_path: Path):
    params = configuration(
        write_text(tmp_path), tmp_path / "run", validation={"skip": True}, data={"validation_fraction": 0.0}
    )
    report = train(params)
    assert (report.likelihood, report.baselines) == (None, None)
    assert not any("validation/bits_per_byte" in line for line in lines_of(tmp_path / "run"))


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"precision": "bf16"}, "model": {"time_conditioning": True, "qk_norm": True, "kv_heads": 1}},
        {"training": {"gradient_checkpointing": True, "ema": {"decay": 0.0}}, "data": {"packing": "one_per_row"}},
        {"objective": {"name": "llada"}, "process": {"name": "mask", "schedule": {"name": "cosine"}}},
        {
            "objective": {"name": "ce", "times": {"t_range": (0.2, 0.8), "per": "batch"}},
            "tokenizer": {"name": "bpe", "vocab_size": 270},
            "log": {"activation_norms": True, "weight_norms": True, "gradient_norms": True},
        },
    ],
    ids=["bf16", "checkpointing", "llada", "ce-bpe-norms"],
)
def test_other_ways_to_train(tmp_path: Path, sections: dict):
    report = train(configuration(write_text(tmp_path), tmp_path / "run", **sections))
    losses = [line["loss"] for line in lines_of(tmp_path / "run") if "loss" in line]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    assert report.likelihood is not None
    bound = "bits_per_byte" in next(line for line in lines_of(tmp_path / "run") if "loss" in line)
    assert bound == ("objective" not in sections)


@pytest.mark.slow
def test_compiled_training_is_training(tmp_path: Path):
    text, found = write_text(tmp_path), []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        train(configuration(text, folder, training={"compile": compiled}))
        found.append([line["loss"] for line in lines_of(folder) if "loss" in line])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_single_source_has_no_scores_of_its_own(run: TrainReport):
    assert not [key for line in lines_of(run.folder) for key in line if "source_" in key]
    assert run.sources == ()
    assert evaluate(EvalParams(checkpoint=str(run.folder), draws=2, documents=2, device="cpu")).sources == ()
