"""Comparisons of seconds: what is shared, what is tuned, what a second call does, and a kill on the way."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import compare as command
from config.load import load
from config.overrides import parse
from diffusionlm.errors import CheckpointError, ConfigError, PairingError
from diffusionlm.process import MaskProcess
from diffusionlm.workflows import compare_run
from diffusionlm.workflows.compare import compare
from diffusionlm.workflows.compare_plan import Planner, narrowed
from diffusionlm.workflows.compare_results import CompareReport, Mean
from diffusionlm.workflows.params import CompareParams
from tests.diffusionlm.workflows.runs import lines_of, write_text

TOML = """
folder = "{folder}"
seeds = [0, 1]
threads = 1
plots = false
device = "cpu"
[budget]
tokens = 768
[tokenizer]
name = "byte"
[data]
cache = "none"
prefetch = 0
validation_fraction = 0.2
[data.source]
name = "text"
path = "{text}"
[model]
layers = 1
width = 32
heads = 2
context_length = 32
[training]
batch_size = 4
[validation]
every = 3
rows = 4
draws = 2
final_tokens = 200
[sweep]
factors = [1.0, 3.0]
width = 16
share = 0.5
[quality]
steps = [2, 8]
samples = 4
[methods.mask]
process = {{ name = "mask", corruption = "exact_count" }}
[methods.uniform]
process = {{ name = "uniform" }}
"""


def write_toml(folder: Path) -> Path:
    path = folder / "compare.toml"
    path.write_text(TOML.format(folder=folder / "comparison", text=write_text(folder)))
    return path


def read(path: Path, *options: str) -> CompareParams:
    return load(CompareParams, str(path), [parse(option) for option in options])


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, CompareReport]:
    path = write_toml(tmp_path_factory.mktemp("compare"))
    return path, compare(read(path))


def test_every_method_has_its_trials_and_its_seeds(done):
    _, report = done
    assert [(run["method"], run["seed"]) for run in report.runs] == [
        ("mask", 0), ("mask", 1), ("uniform", 0), ("uniform", 1),
    ]  # fmt: skip
    assert [(one["method"], one["factor"]) for one in report.trials] == [
        ("mask", 1.0), ("mask", 3.0), ("uniform", 1.0), ("uniform", 3.0),
    ]  # fmt: skip
    assert {one["steps"] for one in report.trials} == {3}
    assert {one["width"] for one in report.trials} == {16}
    assert {(run["steps"], run["tokens"], run["width"]) for run in report.runs} == {(6, 768, 32)}


def test_the_best_trial_decides_the_rate_of_the_runs(done):
    path, report = done
    lr = read(path).methods["mask"].optimizer.lr
    for method in report.methods:
        trials = [one for one in report.trials if one["method"] == method]
        best = min(trials, key=lambda one: one["bits_per_byte"])
        assert {run["factor"] for run in report.of(method)} == {best["factor"]}
        assert {run["learning_rates"]["lr"] for run in report.of(method)} == {lr * best["factor"]}
    assert any("edge of the sweep" in flag for flag in report.flags)


def test_runs_are_run_folders_that_share_text_and_noise(done):
    path, report = done
    seen = []
    for run in report.runs:
        folder = Path(run["folder"])
        assert (folder / "checkpoints" / "step-6").is_dir()
        assert (folder / "config.toml").is_file()
        provenance = json.loads((folder / "run.json").read_text())["sessions"]
        assert len(provenance) == 1
        seen.append(provenance[0]["data"])
        assert len(run["curve"]) == 2
        assert lines_of(folder)
    assert all(one == seen[0] for one in seen)
    # Two seeds of one method differ, and the same seed of two methods reads the rows in the same order.
    first, second = (run["bits_per_byte"] for run in report.of("mask"))
    assert first != second
    assert (path.parent / "comparison" / "config.toml").is_file()


def test_the_report_keeps_bounds_apart_and_flags_few_seeds(done):
    _, report = done
    text = report.report()
    assert "bits/byte (tight bound)" in text
    assert "loose" not in text.split("note:")[0]
    assert "fewer than 3" in text
    assert "768 tokens for every run" in text
    assert "real text" in text
    assert "noise error" in text
    assert all(run["noise_error"] > 0 for run in report.runs)


def test_validation_takes_several_draws_unless_told(tmp_path):
    assert read(write_toml(tmp_path), "validation={every=3}").validation.draws == 4
    assert read(write_toml(tmp_path), "validation={draws=1}").validation.draws == 1


def test_samples_have_quality_and_diversity_and_real_text_beside_them(done):
    _, report = done
    mask = [point for point in report.quality if point["method"] == "mask"]
    assert [(point["seed"], point["steps"]) for point in mask] == [(0, 2), (0, 8), (1, 2), (1, 8)]
    for point in [*mask, report.reference]:
        assert point["judge_bits_per_byte"] > 0
        assert point["entropy"] > 0
        assert 0 < point["distinct"] <= 1
    assert all(point["nfe"] <= point["steps"] for point in mask)
    assert report.reference["judge_bits_per_byte"] < min(point["judge_bits_per_byte"] for point in mask)


def test_a_sampler_with_a_pace_of_its_own_is_measured_once(tmp_path):
    options = ("seeds=[0]", "sweep.factors=[1.0]", "methods.uniform=", "methods.ar.process.name=ar")
    points = compare(read(write_toml(tmp_path), *options)).quality
    assert [(point["method"], point["steps"]) for point in points] == [("mask", 2), ("mask", 8), ("ar", 8)]
    assert points[2]["nfe"] > 8  # a token each
    again = compare(read(write_toml(tmp_path), *options)).quality
    assert [point["seconds"] for point in again] == [point["seconds"] for point in points]  # read, not made


def test_files(done):
    path, report = done
    folder = path.parent / "comparison"
    record = json.loads((folder / "results.json").read_text())
    assert record["budget"] == report.budget
    assert record["summary"][0]["bits_per_byte"]["number"] == 2
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["mask", "mask", "uniform", "uniform"]
    assert float(rows[0]["bits_per_byte"]) == report.runs[0]["bits_per_byte"]
    assert (folder / "quality.csv").is_file()
    assert (folder / "trials.csv").is_file()


def test_a_second_call_repeats_nothing(done, monkeypatch):
    path, report = done

    def never(*arguments: Any) -> None:
        raise AssertionError("it trained or sampled again")

    monkeypatch.setattr(compare_run, "train", never)
    monkeypatch.setattr(compare_run, "generate", never)
    again = compare(read(path))
    assert again.record() == report.record()


def test_another_comparison_does_not_go_into_its_folder(done):
    path, _ = done
    with pytest.raises(ConfigError, match="another budget"):
        compare(read(path, "budget.tokens=1024"))


def test_pictures(done, monkeypatch):
    pytest.importorskip("matplotlib")
    from diffusionlm.workflows.compare_plots import INSTALL, draw

    _, report = done
    for name in draw(report):
        assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert (report.folder / "bits_per_byte.png").stat().st_size > 5000
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw(report) == (f"no plots: {INSTALL}",)


@pytest.mark.parametrize("empty", [{"steps": 8}, {"method": "mask"}, {}])
def test_pictures_leave_out_samples_without_a_byte(done, tmp_path, empty):
    """A young model may end every sample at once: there is nothing to judge, and the others are drawn all the same."""
    pytest.importorskip("matplotlib")
    from diffusionlm.workflows.compare_plots import draw

    nothing = {"judge_bits_per_byte": None, "entropy": None, "distinct": None, "tokens": 0.0}
    _, report = done
    assert any(empty.items() <= point.items() for point in report.quality)
    quality = tuple(point | nothing if empty.items() <= point.items() else point for point in report.quality)
    names = [Path(file).name for file in draw(replace(report, folder=tmp_path, quality=quality))]
    assert names == ["bits_per_byte.png"] + (["quality_nfe.png", "quality_diversity.png"] if empty else [])


@pytest.mark.slow
def test_killed_and_called_again_it_goes_on(tmp_path, done):
    """A kill in the middle of a run: what is finished stays as it is, and the results are those of one sitting."""
    path = write_toml(tmp_path)
    text = path.read_text().replace("steps = [2, 8]", "steps = []")
    path.write_text(text[: text.index("[methods.uniform]")])
    code = (
        "import os, signal, sys\n"
        "import diffusionlm.workflows.compare_run as runs\n"
        "from diffusionlm.workflows.compare import compare\n"
        "from config.load import load\n"
        "from diffusionlm.workflows.params import CompareParams\n"
        "import diffusionlm.workflows.train as workflow\n"
        "calls, original = [], workflow.TrainStep.__call__\n"
        "def strike(self, batches, step, *rest):\n"
        "    calls.append(step)\n"
        "    if len(calls) == 3 + 3 + 6 + 4:\n"
        f"        os.kill(os.getpid(), signal.{signal.SIGKILL.name})\n"
        "    return original(self, batches, step, *rest)\n"
        "workflow.TrainStep.__call__ = strike\n"
        "compare(load(CompareParams, sys.argv[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=environment, check=False)  # fmt: skip # noqa: E501
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = tmp_path / "comparison" / "runs" / "mask" / "seed-0" / "result.json"
    before = first.stat().st_mtime_ns
    assert not first.parent.with_name("seed-1").joinpath("result.json").exists()
    report = compare(read(path))
    assert first.stat().st_mtime_ns == before
    _, expected = done
    assert [run["bits_per_byte"] for run in report.runs] == [run["bits_per_byte"] for run in expected.of("mask")]


def test_a_method_without_a_bound_is_scored_by_its_own_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(MaskProcess, "bound", "none")
    path = write_toml(tmp_path)
    options = ("methods={m={process={name='mask'},objective={name='ce'}}}", "seeds=[4]", "sweep.factors=[1.0]")
    report = compare(read(path, *options, "quality.steps=[]"))
    (run,) = report.runs
    assert run["bound"] == "none"
    assert "bits_per_byte" not in run
    assert run["loss"] > 0
    text = report.report()
    assert "(ce)" in text
    assert "bits/byte" not in text.split("note:")[0]
    assert "no learning rate was searched for" in text


def test_budgets(tmp_path):
    params = read(write_toml(tmp_path), "budget={flops=1e6}")
    planner = Planner(params, {"name": "byte"})
    planner.costs = {"mask": 1000.0, "uniform": 2000.0}
    steps = {method: planner.runs(method, 1.0)[0].params.training.steps for method in params.methods}
    assert steps == {"mask": 8, "uniform": 4}  # 1000 tokens and 500, at 128 a step, rounded up
    minutes = Planner(read(write_toml(tmp_path), "budget={minutes=2.0}"), {"name": "byte"})
    assert minutes.trials("mask")[0].params.training.minutes == 1.0
    assert minutes.trials("mask")[0].params.training.steps is None


def test_the_narrow_network_keeps_the_width_of_its_heads(tmp_path):
    params = read(write_toml(tmp_path))
    assert narrowed(params.model, 16) == {"width": 16, "heads": 1, "head_width": 16}
    with pytest.raises(ConfigError, match="multiple of the heads' width 16"):
        narrowed(params.model, 24)
    trial = Planner(params, {"name": "byte"}).trials("mask")[1].params
    assert (trial.optimizer.base_width, trial.optimizer.lr) == (16, pytest.approx(3e-3))


def test_a_recipe_gives_its_method_and_nothing_that_is_shared(tmp_path):
    params = read(write_toml(tmp_path), "methods.mask={recipe='quickstart',optimizer={name='adamw'}}")
    method = params.methods["mask"]
    assert (method.process.corruption, method.lr_schedule.name) == ("exact_count", "wsd")
    assert method.optimizer.name == "adamw"
    assert method.generation.temperature == 0.8
    assert params.model.width == 32


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("methods.mask={recipe='quickstrat'}", "methods.mask.recipe: quickstrat: no such file; did you mean"),
        ("methods.mask.model.width=64", "methods.mask.model.width: methods are compared on one network"),
        ("methods.mask.data.packing=packed", "methods.mask.data: is shared by all methods"),
        ("methods.mask={recipe='compare_small'}", "methods.mask.recipe: compare_small is a comparison's configuration"),
        ("seeds=[]", "seeds: [] is not allowed; it must have at least 1"),
        ("seeds=[0,-1]", "seeds = [0, -1] must be numbers of at least 0"),
        ("quality.steps=[4,0]", "quality.steps: steps = [4, 0] must be different numbers from 1 to 1000000"),
        ("quality.steps=[4,4]", "quality.steps: steps = [4, 4] must be different numbers from 1 to 1000000"),
        ("methods.mask.process={name='block',block_length=8}", "quality.steps = [2, 8] are too few for 4 blocks"),
        ("methods.mask.generation.block_length=10", "methods.mask: quality.steps = [2, 8] are too few for 4 blocks"),
        ("budget.tokens=0", "budget.tokens: 0 is not allowed"),
        ("budget={flops=nan}", "budget.flops: nan is not allowed"),
        ("budget={minutes=inf}", "budget.minutes: inf is not allowed"),
        ("sweep.factors=[1,nan]", "nan is not allowed"),
        ("seeds=[1,1]", "names a seed twice"),
        ("budget=", "budget: is required and missing"),
        ("budget={}", "exactly one of tokens, flops and minutes"),
        ("budget.minutes=3", "tokens and minutes came"),
        ("methods={}", "methods"),
        ("methods.uniform.generation.sampler.name=ancestral", "does not fit process 'uniform'"),
        ("methods.uniform.process.name=unifrom", "did you mean 'uniform'"),
        ("data.validation_fraction=0", "held-out text"),
        ("quality.length=64", "more than the context"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, option, said):
    result = CliRunner().invoke(command.app, ["--config", str(write_toml(tmp_path)), "--set", option])
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_errors_are_of_the_right_kind(tmp_path):
    with pytest.raises(PairingError, match=r"methods\.uniform"):
        read(write_toml(tmp_path), "methods.uniform.generation.sampler.name=ancestral")


def test_means():
    assert Mean.of([1.0, 3.0]) == Mean(2.0, 1.0, 2)
    assert Mean.of([1.0, None]) == Mean(1.0, None, 1)
    assert Mean.of([None]).words() == ""
    assert Mean.of([1.0, 3.0]).words(1) == "2.0 ± 1.0"


def small(folder: Path, *options: str) -> CompareParams:
    """Return a comparison of one method that takes a second."""
    return read(
        write_toml(folder), "methods.uniform=", "seeds=[0]", "sweep.factors=[1.0]", "quality.steps=[2]", *options
    )


@pytest.mark.parametrize("written", ["", "{", "{}", "[1]", "3", '{"steps": 6}', "\udcff"])
def test_a_broken_result_is_made_again(tmp_path, written):
    """A torn file, or one that holds something else: the run is there, and its scores are read from it once more."""
    params = small(tmp_path)
    before = compare(params)
    run = tmp_path / "comparison" / "runs" / "mask" / "seed-0"
    for name in ("result.json", "quality.json"):
        (run / name).write_bytes(written.encode(errors="surrogateescape"))
    after = compare(params)
    scores = [{k: v for k, v in report.runs[0].items() if k != "seconds"} for report in (before, after)]
    assert scores[0] == scores[1]
    assert json.loads((run / "result.json").read_text())["method"] == "mask"
    assert [point["steps"] for point in json.loads((run / "quality.json").read_text())] == [2]


@pytest.mark.parametrize("lost", [("result.json", "quality.json"), ("quality.json",)], ids=["scores", "samples"])
def test_a_run_whose_only_checkpoint_is_damaged_says_what_to_remove(tmp_path, lost):
    """And that helps: the same command makes the run again."""
    params = small(tmp_path)
    before = compare(params)
    run = tmp_path / "comparison" / "runs" / "mask" / "seed-0"
    for name in lost:
        (run / name).unlink()
    for weights in run.rglob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=rf"^mask, seed 0: no good .*; remove {run} and the same command makes"):
        compare(params)
    shutil.rmtree(run)
    assert compare(params).runs[0]["bits_per_byte"] == before.runs[0]["bits_per_byte"]


def test_a_broken_configuration_in_the_folder_is_one_line(tmp_path):
    params = small(tmp_path, "quality.steps=[]")
    compare(params)
    config = tmp_path / "comparison" / "config.toml"
    for wrong in (b"[[[", b"\xff\xfe"):
        config.write_bytes(wrong)
        with pytest.raises(
            ConfigError, match=r"config\.toml is damaged: .*; choose another name, or remove the folder$"
        ):
            compare(params)


def test_a_folder_that_cannot_be_one_is_named_by_its_own_key(tmp_path):
    params = small(tmp_path)
    (tmp_path / "comparison").write_text("a file")
    with pytest.raises(ConfigError, match=r"comparison cannot be used: .*; choose another folder, or mend its permi"):
        compare(params)


def test_a_method_that_does_not_fit_the_vocabulary_is_named(tmp_path):
    process = "methods.mask.process={name='logit',accuracy=0.001}"
    with pytest.raises(ConfigError, match=r"^methods\.mask: process\.accuracy = 0\.001 .* for a vocabulary of 257"):
        compare(small(tmp_path, process))
    assert not (tmp_path / "comparison").exists(), "the corrected configuration may have the name"


def test_a_method_that_diverged_has_no_samples_and_a_note(tmp_path):
    """The other method's are measured all the same."""
    path = write_toml(tmp_path)
    options = ("seeds=[0]", "sweep.factors=[1.0]", "quality.steps=[2]", "methods.uniform.optimizer.lr=1e30")
    report = compare(read(path, *options))
    assert {point["method"] for point in report.quality} == {"mask"}
    assert any(flag.startswith("uniform, seed 0: no samples, the network's answer is not") for flag in report.flags)
    assert "uniform, seed 0: no score, for its network has diverged" in report.flags
    assert "no score" in report.report()


def test_a_method_whose_trials_all_diverged_is_left_out_with_a_note(tmp_path):
    path = write_toml(tmp_path)
    options = ["seeds=[0]", "quality.steps=[]", "methods.uniform.optimizer.lr=1e29"]
    report = compare(read(path, *options))
    assert report.methods == ("mask",)
    assert "uniform: left out, every trial diverged; lower its learning rates (sweep.factors)" in report.flags
    nothing = read(path, *options, "methods.mask.optimizer.lr=1e29", f"folder={str(tmp_path / 'other')!r}")
    with pytest.raises(ConfigError, match="every trial of every method diverged; lower the learning rates"):
        compare(nothing)


@pytest.mark.parametrize("option", ["quality.steps=[100000000]", "quality.samples=10000000"])
def test_what_would_never_end_is_refused(tmp_path, option):
    with pytest.raises(ConfigError, match="1000000"):
        read(write_toml(tmp_path), option)
