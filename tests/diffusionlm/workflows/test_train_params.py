"""The configuration of training: what its sections refuse together."""

import pytest
from pydantic import ValidationError

from diffusionlm.errors import ConfigError
from diffusionlm.process import PROCESSES
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.train_params import name_methods


def load(**sections):
    return TrainParams.model_validate({"training": {"steps": 10}, **sections})


def test_the_run_folder_follows_from_the_name():
    assert load(run={"name": "first"}).output_folder().as_posix() == "runs/first"
    assert load(run={"name": "first", "folder": "/somewhere/else"}).output_folder().as_posix() == "/somewhere/else"


@pytest.mark.parametrize("name", ["", "a/b", " a", "a\\b", ".", "..", ".a", "a\0b", "a\nb"])
def test_a_name_is_not_a_path(name):
    with pytest.raises(ValidationError, match=r"run\.name"):
        load(run={"name": name})


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {}}, "set steps, tokens or minutes"),
        ({"training": {"steps": 1, "batch_size": 10, "micro_batch_size": 4}}, "10 is not a multiple of .* = 4"),
        ({"generation": {"length": 65}, "model": {"context_length": 64}}, "65 is more than model.context_length = 64"),
        ({"data": {"validation_fraction": 0.0}}, "nothing is held out"),
        ({"lr_schedule": {"name": "cosine", "warmup_steps": 11}}, "warmup_steps = 11 is more than training.steps = 10"),
        ({"run": {"threads": 100_000}}, "less than or equal to 1024"),
        ({"optimizer": {"name": "adamw", "lr": 1e300}}, "less than or equal to 1000"),
        ({"optimizer": {"name": "muon", "embedding_lr": 1e300}}, "less than or equal to 1000"),
        ({"optimizer": {"name": "adamw", "weight_decay": 1e300}}, "less than or equal to 1000"),
        ({"data": {"cache": ""}}, "at least 1 character"),
        ({"model": {"shift": 1}}, "never-masked first token .* set model.shift = 0"),
        (
            {"training": {"steps": 10, "compile": True}, "log": {"activation_norms": True}},
            "training.compile = true and log.activation_norms = true cannot go together",
        ),
    ],
)
def test_sections_that_cannot_go_together(sections, said):
    with pytest.raises(ValidationError, match=said):
        load(**sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"tokens": 5}},
        {"training": {"minutes": 0.5}},
        {"training": {"steps": 10, "compile": True}, "log": {"weight_norms": True, "gradient_norms": True}},
        {"training": {"steps": 1, "batch_size": 10, "micro_batch_size": 5}},
        {"generation": {"length": 64}, "model": {"context_length": 64}},
        {"data": {"validation_fraction": 0.0}, "validation": {"skip": True}},
        {"data": {"validation_fraction": 0.0, "validation_source": {"name": "python-stdlib"}}},
        {"lr_schedule": {"name": "cosine", "warmup_steps": 0.9}},
        {"lr_schedule": {"name": "cosine", "warmup_steps": 1000}, "training": {"minutes": 1.0}},
    ],
)
def test_what_only_looks_wrong(sections):
    assert load(**sections)


def test_a_method_that_does_not_fit_its_process_is_refused(monkeypatch):
    from diffusionlm.errors import PairingError
    from diffusionlm.sampling import SAMPLERS

    def refuse(process):
        raise PairingError(f"nothing fits {process.__name__}")

    monkeypatch.setattr(SAMPLERS["ancestral"], "check", refuse)
    with pytest.raises(ConfigError, match="nothing fits MaskProcess"):
        load()


@pytest.mark.parametrize(
    ("process", "generation", "message"),
    [
        ("uniform", {"guidance": 1.5}, "the noise of process 'uniform' has no mask token; use guidance 0"),
        ("mask", {"self_correction": {}}, "self_correction needs a process whose noise includes wrong tokens"),
    ],
)
def test_what_generation_cannot_have_is_refused_before_training(process, generation, message):
    generation = {**generation, "sampler": {"name": "any_position"}}
    with pytest.raises(ConfigError, match=message):
        load(process={"name": process}, generation=generation)
    assert load(process={"name": "mixture"}, generation=generation)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_block_length_is_refused_where_the_process_has_blocks(name):
    sections = {"process": {"name": name}, "generation": {"block_length": 4}}
    if name == "block":
        with pytest.raises(ConfigError, match="block_length = 4 was given, but process 'block' has blocks of its own"):
            load(**sections)
    else:
        load(**sections)


def test_optional_sections_of_a_checkpoint_command():
    from diffusionlm.workflows.params import EvalParams, InfillParams

    assert EvalParams(checkpoint="runs/x").source is None
    assert EvalParams(checkpoint="runs/x", draws=1).draws == 1
    with pytest.raises(ValidationError, match="draws"):
        EvalParams(checkpoint="runs/x", draws=0)
    assert InfillParams(checkpoint="runs/x", text_file="-").texts == ()
    with pytest.raises(ValidationError, match="no text to fill"):
        InfillParams(checkpoint="runs/x")


@pytest.mark.parametrize("name", PROCESSES)
def test_time_conditioning_follows_the_process_unless_it_is_set(name):
    def told(**model):
        return name_methods({"process": {"name": name}, "model": model})["model"]["time_conditioning"]

    assert told() is told(width=96) is PROCESSES[name].time_conditioning
    assert [told(time_conditioning=explicit) for explicit in (False, True)] == [False, True]


def test_masks_tell_the_time_by_their_number():
    assert not load().model.time_conditioning
    assert load(model={"time_conditioning": True}).model.time_conditioning
    assert [PROCESSES[name].time_conditioning for name in ("mask", "uniform", "mixture")] == [False, True, True]


def test_spans_and_exact_counts_are_refused_together():
    with pytest.raises(ConfigError, match=r"objective.masking.spans needs positions that are chosen one by one"):
        load(process={"corruption": "exact_count"}, objective={"masking": {"spans": 0.1}})


@pytest.mark.parametrize("times", [{"t_range": [0.2, 0.7]}, {"search_every": 5}])
@pytest.mark.parametrize("name", ["uniform", "gidd", "keep"])
def test_times_are_not_chosen_where_counts_come_first(name, times):
    """The number is drawn before the time: of chosen times it would not be that of independent noise."""
    counted = {"name": name, "corruption": "exact_count"}
    with pytest.raises(
        ConfigError, match=r"t_range and its search choose among times, .* leave t_range = \[0, 1\], or"
    ):
        load(process=counted, objective={"times": times})
    load(process=counted, objective={"times": {"law": "importance", "density": [1, 2]}})
    load(process={"name": name}, objective={"times": times})
    load(process={"name": "mask", "corruption": "exact_count"}, objective={"times": times})
