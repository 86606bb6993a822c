"""Every command as a user meets it: help, the configuration printed, mistakes, and the one library call it makes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import diffusionlm.workflows
from cli import app as frame
from cli import (
    bench_data,
    bench_infer,
    bench_tokenizer,
    bench_train,
    compare,
    data,
    infer,
    infill,
    inspect,
    main,
    make_data,
    methods,
    selftest,
    train,
    train_tokenizer,
)
from cli import eval as evaluation
from config.schema import commands

ROOT = Path(__file__).parent.parent.parent
APPS = {
    "train": train.app,
    "train-tokenizer": train_tokenizer.app,
    "make-data": make_data.app,
    "infer": infer.app,
    "infill": infill.app,
    "eval": evaluation.app,
    "bench-train": bench_train.app,
    "bench-infer": bench_infer.app,
    "bench-tokenizer": bench_tokenizer.app,
    "bench-data": bench_data.app,
    "inspect": inspect.app,
    "compare": compare.app,
    "methods": methods.app,
    "selftest": selftest.app,
    "data-inspect": frame.make_app(data.inspect),
    "data-verify": frame.make_app(data.verify),
}
GROUPS = {"data": data}
"""Commands under one name: ``flowlm data verify`` is configured as ``data-verify``."""
GROUPED = [f"{name}-{verb}" for name, group in GROUPS.items() for verb in group.COMMANDS]
VERBS_ONLY = ("compare", "inspect", "methods", "selftest", *GROUPED)
# What a command cannot do without, as a user types it.
NEEDED = {
    "train": ["--set", "training.steps=3"],
    "infer": ["--checkpoint", "runs/x"],
    "infill": ["--checkpoint", "runs/x", "a<|hole:3|>b"],
    "eval": ["--checkpoint", "runs/x"],
    "inspect": ["runs/x"],
    "data-verify": ["shards"],
    "compare": ["--set", "budget.tokens=1000", "--set", "methods={mask={}}"],
}


def needed(verb):
    return NEEDED[verb] if verb in NEEDED else []  # noqa: SIM401


def invoke(verb, *arguments):
    return CliRunner().invoke(APPS[verb], list(arguments))


def scripts():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["scripts"]


def test_every_configuration_has_a_command_and_a_script():
    assert set(APPS) == set(commands())
    assert set(scripts()) == {"flowlm", *(f"flowlm-{verb}" for verb in APPS if verb not in VERBS_ONLY)}
    for name, target in scripts().items():
        module, _, function = target.partition(":")
        imported = __import__(module, fromlist=[function])
        assert callable(vars(imported)[function]), name


def test_flowlm_has_every_verb():
    assert set(APPS) - set(GROUPED) < set(main.COMMANDS)
    for words in [[verb] for verb in main.COMMANDS] + [[g, verb] for g in GROUPS for verb in GROUPS[g].COMMANDS]:
        result = CliRunner().invoke(main.app, [*words, "--help"])
        assert result.exit_code == 0, words


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_alone_and_a_wrong_verb_in_it(group):
    result = CliRunner().invoke(main.app, [group, "verfy"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr
        == f"error: 'verfy': no such command; did you mean 'verify'?; known: {', '.join(GROUPS[group].COMMANDS)}\n"
    )


def test_flowlm_alone_shows_help():
    result = CliRunner().invoke(main.app, [])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "train-tokenizer" in result.stdout


HEAVY = ("torch", "numpy", "datasets", "transformers", "tokenizers", "wandb", "pydantic", "safetensors")


BARE = """
import sys, typer
app = typer.Typer()
@app.command()
def bare(option: str = ""):
    pass
"""


def modules_of_help(setup, app, *words):
    """Return what a process has imported once it has printed the help of an application."""
    code = (
        f"{setup}\nimport sys\nsys.argv = {['flowlm', *words, '--help']}\n"
        f"try:\n    {app}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Usage" in done.stdout
    assert "--help" in done.stdout
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def modules_of_bare_help():
    return modules_of_help(BARE, "app()")


@pytest.mark.parametrize("verb", [*(verb for verb in APPS if verb not in GROUPED), *GROUPS, ""])
def test_help_imports_nothing_heavy(verb, modules_of_bare_help):
    """Seconds depend on the machine, imports do not: help may load few modules more than Typer does for any program."""
    module = f"cli.{GROUPED[verb][0] if verb in GROUPED else verb.replace('-', '_')}" if verb else "cli.main"
    more = modules_of_help(f"import cli.app, {module}", f"cli.app.run({module}.app)") - modules_of_bare_help
    assert not more & set(HEAVY)
    assert len(more) < 60, sorted(more)


@pytest.mark.parametrize("words", [("train",), ("data", "inspect")])
def test_help_of_a_verb_imports_no_more_than_the_help_of_all(words, modules_of_bare_help):
    more = modules_of_help("import cli.main", "cli.main.run()", *words) - modules_of_bare_help
    assert not more & set(HEAVY)
    assert len(more) < 60, sorted(more)


def test_parameters_import_nothing_heavy():
    code = (
        "import sys, diffusionlm.workflows.params, config.load, config.schema\n"
        "print([m for m in ('torch', 'numpy', 'datasets', 'tokenizers', 'wandb', 'rich') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("verb", APPS)
def test_print_config_prints_and_runs_nothing(verb):
    result = invoke(verb, *needed(verb), "--print-config")
    assert (result.exit_code, result.stderr) == (0, "")
    assert commands()[verb].model_validate(tomllib.loads(result.stdout))


@pytest.mark.parametrize("verb", APPS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "modle.width=3"], "--set modle.width=3: modle: unknown section"),
        (["--set", "threads"], "--set threads: expected section.key=value"),
        (["--config", "nowhere.toml"], "--config nowhere.toml: no such file"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_2(verb, arguments, said):
    result = invoke(verb, *needed(verb), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {said}")
    assert result.stderr.count("\n") == 1


def test_a_wrong_type_in_a_file_is_one_line_and_exit_2(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nsteps = 'ten'\n")
    result = invoke("train", "--config", str(path))
    assert result.exit_code == 2
    assert result.stderr == f"error: {path}: training.steps: 'ten' is not allowed; it must be a valid integer\n"


@pytest.mark.parametrize("verb", ["infer", "infill", "eval", "inspect"])
def test_a_missing_checkpoint_option_is_said(verb):
    result = invoke(verb, *[word for word in needed(verb) if word not in ("--checkpoint", "runs/x")])
    assert result.exit_code == 2
    option = "PATH" if verb == "inspect" else "--checkpoint"
    assert result.stderr.startswith(f"error: checkpoint: is required and missing; give {option} (A checkpoint folder")


def test_a_missing_folder_to_verify_is_said():
    result = invoke("data-verify")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: folder: is required and missing; give FOLDER (The folder that make-data wrote, or one side of it), or "
        "set it in a --config file or with --set\n",
    )


@dataclass(frozen=True)
class Product:
    """Stands in for what a workflow returns."""

    text: str = "the product"
    exit_code: int = 0
    runs = (1,)  # no field: the tests replace the defaults of the fields

    def report(self) -> str:
        return self.text

    def headline(self) -> str:
        return "the talk"

    def record(self) -> dict[str, Any]:
        return {"text": self.text, "nfe": 3}


@pytest.fixture
def called(monkeypatch):
    """Replace every workflow by one that notes its parameters; return the notes."""
    notes = {}

    def stand_in(package, name, function):
        module = ModuleType(f"{package.__name__}.{name}")

        def workflow(params):
            notes[function] = params
            return [Product(), Product("a second")] if function in ("infer", "infill") else Product()

        setattr(module, function, workflow)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(package, name, module, raising=False)

    benches = ModuleType("benchmarking")
    monkeypatch.setitem(sys.modules, "benchmarking", benches)
    for verb in sorted(verb for verb in APPS if not verb.startswith("bench-")):
        name = "evaluate" if verb == "eval" else verb.replace("-", "_")
        stand_in(diffusionlm.workflows, name, name)
    stand_in(benches, "train", "bench_train")
    stand_in(benches, "infer", "bench_infer")
    stand_in(benches, "tokenizer", "bench_tokenizer")
    stand_in(benches, "data", "bench_data")
    return notes


@pytest.mark.parametrize("verb", sorted(set(APPS) - {"infer", "infill"}))
def test_one_library_call_and_its_report_on_stdout(verb, called):
    result = invoke(verb, *needed(verb))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "the product\n", "")
    (params,) = called.values()
    assert type(params) is commands()[verb]


@pytest.mark.parametrize("code", [130, 143])
def test_a_stopped_run_ends_with_the_code_of_its_signal(code, called, monkeypatch):
    monkeypatch.setattr(Product, "exit_code", code)
    monkeypatch.setattr(Product.__init__, "__defaults__", ("the product", code))
    assert invoke("train", *needed("train")).exit_code == code


def test_train_resumes(called):
    invoke("train", *needed("train"), "--resume", "auto")
    assert called["train"].run.resume == "auto"


def test_infer_takes_its_settings_as_flags(called):
    result = invoke(
        "infer",
        *("--checkpoint", "runs/x", "first", "--prompt", "second", "--prompts-file", "-"),
        *("--length", "8", "--steps", "4", "--samples", "2", "--temperature", "0.5", "--seed", "7"),
        *("--sampler", "confidence", "--watch"),
    )
    assert (result.exit_code, result.stdout) == (0, "the product\na second\n")
    assert result.stderr == "the talk\nthe talk\n"
    params = called["infer"]
    assert (params.checkpoint, params.prompts, params.prompts_file) == ("runs/x", ("first", "second"), "-")
    generation = params.generation
    assert (generation.length, generation.steps, generation.samples, generation.seed) == (8, 4, 2, 7)
    assert (generation.temperature, generation.sampler.name, params.watch) == (0.5, "confidence", True)


@pytest.mark.parametrize("verb", ["infer", "infill"])
def test_json_lines(verb, called):
    result = invoke(verb, *needed(verb), "--json")
    assert result.stderr == ""
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"text": "the product", "nfe": 3},
        {"text": "a second", "nfe": 3},
    ]


def test_infill_takes_texts_or_a_file(called):
    invoke("infill", "--checkpoint", "runs/x", "a<|hole:2|>", "b<|hole:3|>")
    assert called["infill"].texts == ("a<|hole:2|>", "b<|hole:3|>")
    invoke("infill", "--checkpoint", "runs/x", "--file", "-")
    assert called["infill"].text_file == "-"


def test_eval_takes_a_text_and_prints_json(called):
    result = invoke("eval", "--checkpoint", "runs/x", "--file", "book.txt", "--json", "--documents", "3")
    assert json.loads(result.stdout) == {"text": "the product", "nfe": 3}
    assert (called["evaluate"].source.name, called["evaluate"].source.path) == ("text", "book.txt")
    assert called["evaluate"].documents == 3


def test_the_option_wins_over_the_file_and_the_message_names_it(tmp_path, called):
    path = tmp_path / "mine.toml"
    path.write_text("checkpoint = 'runs/x'\n[generation]\nsteps = 3\n")
    assert invoke("infer", "--config", str(path), "--steps", "9").exit_code == 0
    assert called["infer"].generation.steps == 9
    result = invoke("infer", "--config", str(path), "--steps", "0")
    assert result.stderr.startswith("error: --steps: generation.steps: 0 is not allowed")


def test_schema_prints_and_writes(tmp_path):
    result = CliRunner().invoke(main.app, ["schema", "train"])
    assert json.loads(result.stdout)["title"] == "flowlm train"
    result = CliRunner().invoke(main.app, ["schema", "--write", "--folder", str(tmp_path)])
    assert result.exit_code == 0
    assert (tmp_path / "train.json").exists()
    assert CliRunner().invoke(main.app, ["schema", "trian"]).exit_code == 2
    result = CliRunner().invoke(main.app, ["schema", "train", "--write", "--folder", str(tmp_path / "other")])
    assert (result.exit_code, (tmp_path / "other").exists()) == (2, False)
