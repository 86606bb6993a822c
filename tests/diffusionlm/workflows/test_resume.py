"""A killed run that is resumed is the run that was never killed: losses, validation, averages, data order, weights."""

from __future__ import annotations

import errno
import random
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffusionlm.workflows.train as workflow
from diffusionlm.checkpoint import Best, load_checkpoint
from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import STEPS, configuration, lines_of, run_and_strike, trace, write_text

WAYS = {
    "plain": {},
    "accumulated": {"training": {"steps": STEPS, "batch_size": 4, "micro_batch_size": 2, "ema": {"decay": 0.9}}},
    "muon": {"optimizer": {"name": "muon"}, "data": {"packing": "one_per_row", "prefetch": 0}},
}


def configured(tmp_path: Path, name: str, way: str = "plain", **sections: dict) -> TrainParams:
    text = tmp_path / "text.txt"
    if not text.exists():
        write_text(tmp_path)
    model = {"dropout": 0.1, "layers": 2, "width": 32, "heads": 2, "context_length": 32}
    merged: dict[str, dict] = {"model": model, **WAYS[way]}
    for section, values in sections.items():
        merged[section] = {**(merged.get(section) or {}), **values}
    return configuration(text, tmp_path / name, **merged)


def resumed(params: TrainParams, resume: str = "auto", **changes: object) -> TrainParams:
    return params.model_copy(update={"run": params.run.model_copy(update={"resume": resume, **changes})})


def assert_same_run(one: Path, other: Path) -> None:
    assert trace(one) == trace(other)
    first, second = (load_checkpoint(folder / "checkpoints" / f"step-{STEPS}") for folder in (one, other))
    for a, b in (
        (first.weights("model"), second.weights("model")),
        (first.ema(), second.ema()),
        (first.optimizer(), second.optimizer()),
    ):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert first.state.cursor == second.state.cursor
    assert first.state.best == second.state.best


@pytest.mark.parametrize("way", WAYS)
def test_killed_and_resumed_equals_unbroken(tmp_path, way):
    whole, broken = configured(tmp_path, "whole", way), configured(tmp_path, "broken", way)
    train(whole)
    # Step 6 lies between two checkpoints (4 and 8): two steps are made again, and so is a validation.
    struck = run_and_strike(broken, 6)
    assert struck.returncode == -9, struck.stderr
    assert len([line for line in trace(tmp_path / "broken") if "loss" in line]) == 6
    train(resumed(broken))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["step", "save"])
def test_killed_at_random_again_and_again(tmp_path, way, place):
    whole, broken = configured(tmp_path, "whole", way), configured(tmp_path, "broken", way)
    train(whole)
    chosen = sorted(random.sample(range(1, STEPS) if place == "step" else [4, 8, 12], 2))
    for number, step in enumerate(chosen):
        struck = run_and_strike(resumed(broken) if number else broken, step, place)
        assert struck.returncode == -9, (chosen, struck.stderr)
    train(resumed(broken))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_sigterm_saves_and_resume_completes(tmp_path):
    whole, stopped = configured(tmp_path, "whole"), configured(tmp_path, "stopped")
    train(whole)
    done = run_and_strike(stopped, 6, signal_name="SIGTERM")
    assert done.returncode == 0, done.stderr
    # The step in which the signal came is finished first.
    assert "reason='SIGTERM', step=7" in done.stdout
    assert f"SIGTERM: stopped after step 7, saved {tmp_path / 'stopped' / 'checkpoints' / 'step-7'}" in done.stderr
    assert "--resume auto" in done.stderr
    train(resumed(stopped))
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> TrainParams:
    """A finished run; tests copy it before they damage it."""
    folder = tmp_path_factory.mktemp("finished")
    params = configured(folder, "run", data={"cache": "none"})
    train(params)
    return params


def copy(finished: TrainParams, tmp_path: Path, name: str = "copy") -> TrainParams:
    assert finished.run.folder is not None
    shutil.copytree(finished.run.folder, tmp_path / name)
    return resumed(finished, folder=tmp_path / name)


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(finished, tmp_path, capsys, how, file):
    params = copy(finished, tmp_path)
    folder = tmp_path / "copy"
    before = trace(folder)
    damage(folder / "checkpoints" / f"step-{STEPS}" / file, how)
    train(params)
    said = [line for line in capsys.readouterr().err.splitlines() if f"step-{STEPS}" in line and file in line]
    assert len(said) == 1, said
    assert trace(folder) == before
    assert load_checkpoint(folder / "checkpoints" / f"step-{STEPS}").state.step == STEPS


def test_without_any_good_checkpoint_one_line_says_so(finished, tmp_path):
    params = copy(finished, tmp_path)
    for checkpoint in (tmp_path / "copy" / "checkpoints").iterdir():
        damage(checkpoint / "model.safetensors", "flipped")
    with pytest.raises(CheckpointError, match="no good checkpoint in") as raised:
        train(params)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("model", {"width": 64}, r"model\.width = 32, now it is 64"),
        ("model", {"dropout": 0.5}, r"model\.dropout = 0\.1, now it is 0\.5"),
        ("run", {"seed": 4}, r"run\.seed = 3, now it is 4"),
        ("training", {"batch_size": 8}, r"training\.batch_size = 4, now it is 8"),
    ],
)
def test_what_cannot_change_is_refused_in_one_line(finished, tmp_path, section, values, said):
    params = copy(finished, tmp_path)
    changed = params.model_copy(update={section: vars(params)[section].model_copy(update=values)})
    with pytest.raises(CheckpointError, match=said) as raised:
        train(changed)
    assert "\n" not in str(raised.value)


def test_another_optimizer_or_schedule_is_refused(finished, tmp_path):
    params = copy(finished, tmp_path)
    muon = TrainParams.model_validate({**params.model_dump(exclude={"optimizer"}), "optimizer": {"name": "muon"}})
    with pytest.raises(CheckpointError, match=r"optimizer\.name = adamw, now it is muon"):
        train(muon)
    process = {"name": "mask", "schedule": {"name": "cosine"}}
    cosine = TrainParams.model_validate({**params.model_dump(exclude={"process"}), "process": process})
    with pytest.raises(CheckpointError, match=r"process\.schedule = .*linear.*, now it is .*cosine"):
        train(cosine)


def test_another_text_is_refused(finished, tmp_path):
    params = copy(finished, tmp_path)
    write_text(tmp_path, seed=1)
    data = params.data.model_copy(
        update={"source": params.data.source.model_copy(update={"path": str(tmp_path / "text.txt")})}
    )
    with pytest.raises(CheckpointError, match=r"was trained with text = .*, now it is .*") as raised:
        train(params.model_copy(update={"data": data}))
    assert "\n" not in str(raised.value)


def test_a_folder_that_holds_something_is_never_overwritten(finished, tmp_path):
    params = copy(finished, tmp_path)
    with pytest.raises(ConfigError, match=r"copy is not empty: it holds a run; add --resume auto to continue it"):
        train(resumed(params, ""))
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("years of work")
    for resume in ("", "auto"):
        with pytest.raises(ConfigError, match="files that are not a run's"):
            train(resumed(params, resume, folder=strange))
    assert [path.name for path in strange.iterdir()] == ["thesis.txt"]


def test_a_finished_run_resumes_to_the_same_end(finished, tmp_path):
    params = copy(finished, tmp_path)
    before = trace(tmp_path / "copy")
    report = train(params)
    assert report.outcome.step == STEPS
    assert trace(tmp_path / "copy") == before


def test_more_steps_go_on_from_the_end(finished, tmp_path):
    params = copy(finished, tmp_path)
    longer = params.model_copy(update={"training": params.training.model_copy(update={"steps": STEPS + 3})})
    assert train(longer).outcome.step == STEPS + 3


def test_a_named_checkpoint_starts_another_folder(finished, tmp_path):
    from_eight = resumed(finished, f"{finished.run.folder}/checkpoints/step-8", folder=tmp_path / "branch")
    train(from_eight)
    steps = [line["step"] for line in trace(tmp_path / "branch") if "loss" in line]
    assert steps == [9, 10, 11, 12]
    assert finished.run.folder is not None
    original = [line for line in trace(finished.run.folder) if line["step"] > 8]
    assert trace(tmp_path / "branch") == original


def test_resuming_inside_the_run_forgets_what_came_later(finished, tmp_path):
    copy(finished, tmp_path)
    before = trace(tmp_path / "copy")
    train(resumed(finished, str(tmp_path / "copy" / "checkpoints" / "step-8"), folder=tmp_path / "copy"))
    assert trace(tmp_path / "copy") == before


def changed(params: TrainParams, **sections: dict) -> TrainParams:
    """Return a configuration with some values changed."""
    tables = params.model_dump(mode="json", exclude_none=True)
    merged = {name: new if "name" in new else {**tables[name], **new} for name, new in sections.items()}
    return TrainParams.model_validate({**tables, **merged})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"shuffle_buffer": 5}}, r"data\.shuffle_buffer = 1024, now it is 5"),
        ({"objective": {"name": "llada"}}, r"objective\.name = nelbo, now it is llada"),
        ({"objective": {"times": {"epsilon": 0.25}}}, r"objective\.times = .*'epsilon': 0\.0.*, now it is .*0\.25"),
    ],
)
def test_another_order_or_objective_is_refused_in_one_line(finished, tmp_path, sections, said):
    with pytest.raises(CheckpointError, match=said) as raised:
        train(changed(copy(finished, tmp_path), **sections))
    assert "\n" not in str(raised.value)


def test_another_method_is_named_before_what_follows_from_it_and_before_any_text_is_read(finished, tmp_path):
    params = copy(finished, tmp_path)
    gone = {"source": {"name": "text", "path": str(tmp_path / "gone.txt")}}
    tables = params.model_dump(mode="json", exclude_none=True, exclude={"objective", "process", "model", "generation"})
    model = params.model.model_dump(mode="json", exclude_none=True, exclude={"time_conditioning"})
    other = {**tables, "process": {"name": "uniform"}, "model": model, "data": {**tables["data"], **gone}}
    with pytest.raises(CheckpointError, match=r"process\.name = mask, now it is uniform"):
        train(TrainParams.model_validate(other))


def test_a_checkpoint_that_does_not_say_is_refused_in_one_line(finished, tmp_path, monkeypatch):
    params = copy(finished, tmp_path)
    original = workflow.load_checkpoint

    def older(path):
        checkpoint = original(path)
        return replace(checkpoint, data={k: v for k, v in checkpoint.data.items() if k != "data.shuffle_buffer"})

    monkeypatch.setattr(workflow, "load_checkpoint", older)
    with pytest.raises(CheckpointError, match=r"does not say which data\.shuffle_buffer it was trained") as raised:
        train(params)
    assert "\n" not in str(raised.value)


def test_what_changed_is_told_in_one_line(finished, tmp_path, capsys):
    params = copy(finished, tmp_path)
    train(params)
    assert "changed since" not in capsys.readouterr().err
    other = changed(
        params,
        training={"clip_norm": 0.5},
        optimizer={"lr": 0.25},
        validation={"seed": 7},
        log={"log_every": 2},
        tokenizer={"name": "bpe", "vocab_size": 300},
    )
    train(other)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "changed since" in line]
    assert line.startswith("changed since: optimizer.lr ")
    for change in (
        " → 0.25",
        "training.clip_norm 1.0 → 0.5",
        "validation.seed 0 → 7",
        "tokenizer.name byte → bpe",
        "tokenizer.vocab_size unset → 300",
        "(the run keeps its tokenizer)",
    ):
        assert change in line
    assert "log" not in line
    written = tomllib.loads((tmp_path / "copy" / "config.toml").read_text(encoding="utf-8"))
    assert written["tokenizer"]["name"] == "byte"
    assert written["training"]["clip_norm"] == 0.5


def steps_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def test_newer_checkpoints_stay_until_the_first_save(finished, tmp_path, capsys, monkeypatch):
    copy(finished, tmp_path)
    folder = tmp_path / "copy"
    before = steps_in(folder)
    assert f"step-{STEPS}" in before
    back = resumed(finished, str(folder / "checkpoints" / "step-8"), folder=folder)

    def broken(self, batches, step, lr_multiplier, probe=None):
        raise RuntimeError("no step is made")

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", broken)
        with pytest.raises(RuntimeError, match="no step is made"):
            train(back)
    assert steps_in(folder) == before
    capsys.readouterr()
    train(back)
    later = sorted((name for name in before if int(name[5:]) > 8), key=lambda name: int(name[5:]))
    assert f"removed {', '.join(later)}: the run now goes on from step-8" in capsys.readouterr().err
    assert f"step-{STEPS}" in steps_in(folder)


def test_a_branch_has_no_best_of_its_parent(finished, tmp_path, monkeypatch):
    """Another run's best value is of a checkpoint that the branch does not have."""
    unbeatable = Best("validation/bits_per_byte", 0.0, 5)
    original = workflow.restore

    def restored(parts, *rest):
        original(parts, *rest)
        parts.best = unbeatable

    monkeypatch.setattr(workflow, "restore", restored)
    train(resumed(finished, f"{finished.run.folder}/checkpoints/step-8", folder=tmp_path / "branch"))
    best = load_checkpoint(tmp_path / "branch" / "checkpoints" / f"step-{STEPS}").state.best
    assert best is not None
    assert best.step > 8
    copy(finished, tmp_path)
    train(resumed(finished, f"{tmp_path}/copy/checkpoints/step-8", folder=tmp_path / "copy"))
    assert load_checkpoint(tmp_path / "copy" / "checkpoints" / f"step-{STEPS}").state.best == unbeatable


def test_a_finished_run_is_not_sampled_twice(finished, tmp_path):
    params = copy(finished, tmp_path)
    samples = tmp_path / "copy" / "samples.jsonl"
    before = samples.read_bytes()
    train(params)
    assert samples.read_bytes() == before
    lines = before.splitlines(keepends=True)
    samples.write_bytes(lines[0])  # killed between the two tables
    train(params)
    assert [line["table"] for line in lines_of(tmp_path / "copy", "samples.jsonl")] == ["samples", "infilled"]


def test_a_folder_that_cannot_be_used_is_one_line(finished, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="Not a directory") as raised:
        train(resumed(finished, "", folder=tmp_path / "file" / "run"))
    assert "\n" not in str(raised.value)

    def refuse(self, *rest, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    params = copy(finished, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(ConfigError, match=r"run folder .*copy cannot be used: Permission denied") as raised:
            train(params)
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ConfigError, match=r"run folder .*new cannot be used: Permission denied .*choose another"):
        train(resumed(finished, "", folder=tmp_path / "new"))


@pytest.mark.parametrize("law", ["uniform", "importance"])
def test_a_search_for_the_law_of_times_goes_on_exactly(tmp_path, law):
    """What the last search found is in the checkpoint, and the next ones find the same."""
    objective = {"name": "nelbo", "times": {"law": law, "search_every": 3}}
    whole = configured(tmp_path, "whole", objective=objective)
    train(whole)
    lines = lines_of(tmp_path / "whole")
    assert [line["step"] for line in lines if "times/variance_share" in line] == [3, 6, 9]
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoints" / "step-12")
    found = load_checkpoint(tmp_path / "broken" / "checkpoints" / "step-8").state.counters["times"]
    assert len(found) == (2 if law == "uniform" else 20)  # type: ignore[arg-type]
    train(resumed(configured(tmp_path, "broken", objective=objective)))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    if law == "uniform":  # the loss is the bound only while all times are drawn
        ranges = {line["step"]: line["times/t_high"] - line["times/t_low"] for line in lines if "times/t_low" in line}
        assert ranges[3] < 1.0
        assert [line["step"] for line in lines if "loss" in line and "bits_per_byte" in line] == [1, 2, 3]
    else:
        assert all("bits_per_byte" in line for line in lines if "loss" in line)
