"""``flowlm compare``: several methods on one text, one tokenizer, one network and one budget, over several seeds.

tokenizer, once → learning-rate trials, as many of the same budget for every method → a run for every seed → likelihood
on the same held-out text with the same noise → samples over a sweep of steps → tables, files, pictures

Every run is an ordinary run folder under the comparison's. A comparison that was interrupted goes on where it was: what
is finished is read, a run that was stopped is resumed.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusionlm.errors import ConfigError, FlowLMError
from diffusionlm.evaluation import ByteJudge
from diffusionlm.process import PROCESSES
from diffusionlm.workflows.compare_cost import flops_per_token
from diffusionlm.workflows.compare_params import FEW_SEEDS
from diffusionlm.workflows.compare_plan import Planned, Planner
from diffusionlm.workflows.compare_plots import draw
from diffusionlm.workflows.compare_results import CompareReport, Record, write_results
from diffusionlm.workflows.compare_run import Stopped, finished, measure_samples, real_text, run_once
from diffusionlm.workflows.corpus import TextData, open_text
from diffusionlm.workflows.params import CompareParams
from diffusionlm.workflows.resolved import to_toml
from diffusionlm.workflows.run_folder import CONFIG, folder_errors
from diffusionlm.workflows.runtime import choose_device, set_threads
from diffusionlm.workflows.talk import say

TOKENIZER = "tokenizer"
PRESENTATION = ("plots", "format", "threads", "device", "name", "folder")
"""Keys that may change when a comparison goes on: they change no number."""


def compare(params: CompareParams) -> CompareReport:
    """Run a comparison, or what is left of it.

    Raises:
        FlowLMError: Something in the configuration, the text or the folder is wrong; one line says what.
    """
    folder = params.output_folder()
    choose_device(params.device)
    set_threads(params.threads)
    _claim(folder, params)
    try:
        with _nothing_kept_of_a_refusal(folder):
            text, tokenizer = _text(params, folder)
            report = _Comparison(params, text, Planner(params, tokenizer)).run()
    except Stopped as stopped:
        say(f"stopped; everything is saved, and the same command goes on from here ({folder})")
        return CompareReport(folder, "stopped", (), (), (), {}, (), exit_code=stopped.exit_code)
    files = write_results(report)
    return replace(report, files=(*files, *(draw(report) if params.plots else ())))


class _Comparison:
    """The runs of a comparison, one after the other."""

    def __init__(self, params: CompareParams, text: TextData, planner: Planner) -> None:
        self.params, self.text, self.planner = params, text, planner
        self.flags = _flags(params)
        self.done, self.total = 0, len(params.methods) * (len(params.seeds) + _trials(params))

    def run(self) -> CompareReport:
        """Make every run, then measure its samples."""
        batch = self.text.held_out_rows(8)[0]
        for method in self.params.methods:
            vocabulary = self.text.tokenizer.vocab_size
            try:
                self.planner.costs[method] = flops_per_token(self.planner.full(method), vocabulary, batch)
            except ConfigError as error:
                raise type(error)(f"methods.{method}: {error}") from None
        # Everything is planned before anything runs: what does not fit is found now.
        searches = {method: self.planner.trials(method) for method in self.params.methods}
        trials, runs, planned = [], [], []
        for method, search in searches.items():
            results = [self._one(trial) for trial in search]
            trials += results
            best = self._best(method, results)
            for one in [] if best is None else self.planner.runs(method, best):
                planned.append(one)
                runs.append(self._one(one))
        if not runs:
            raise ConfigError("every trial of every method diverged; lower the learning rates (sweep.factors)")
        quality, reference = self._samples(planned)
        return CompareReport(
            self.params.output_folder(),
            self._budget(),
            tuple(runs),
            tuple(trials),
            tuple(quality),
            reference,
            tuple(dict.fromkeys(self.flags)),
        )

    def _one(self, planned: Planned) -> Record:
        self.done += 1
        was_there = finished(planned) is not None
        if not was_there:
            say(f"[{self.done} of {self.total}] {planned.words} …")
        result = run_once(planned, self.text, self.planner.costs[planned.method])
        if "failed" in result:
            self.flags.append(f"{planned.words}: {result['failed']}")
            said = "failed"
        else:
            value, loss = result.get("bits_per_byte"), result.get("loss")
            said = f"{value:.3f} bits per byte" if value is not None else f"loss {loss:.3f}" if loss is not None else ""
            if not said:
                said = "no score, for its network has diverged"
                self.flags.append(f"{planned.words}: {said}")
            said += f", {result['steps']} steps, {result['seconds']:.0f} s"
        say(f"[{self.done} of {self.total}] {planned.words}: {said}{' (there already)' if was_there else ''}")
        return result

    def _best(self, method: str, trials: list[Record]) -> float | None:
        """Return the factor of the best trial, the only one where there was no search; None if every trial diverged."""
        factors = self.params.sweep.factors
        scored = [(_score(trial), trial["factor"]) for trial in trials if _score(trial) is not None]
        if not scored:
            if not trials:
                return factors[0]
            self.flags.append(f"{method}: left out, every trial diverged; lower its learning rates (sweep.factors)")
            say(self.flags[-1])
            self.done += len(self.params.seeds)
            return None
        best = min(scored)[1]
        if best in (min(factors), max(factors)):
            self.flags.append(
                f"{method}: the best learning rate (× {best:g}) lies at the edge of the sweep; wider sweep.factors may "
                "do better"
            )
        return best

    def _samples(self, planned: list[Planned]) -> tuple[list[Record], Record]:
        quality = self.params.quality
        if not quality.steps:
            return [], {}
        say("sampling")
        judge = ByteJudge(self.text.corpus.train, quality.order, quality.judge_bytes)
        records: list[Record] = []
        for one in planned:
            if "failed" not in (finished(one) or {}):
                points = measure_samples(one, quality, judge, self.flags)
                records += [{"method": one.method, "seed": one.seed, **point} for point in points]
        return records, real_text(self.text, quality, judge)

    def _budget(self) -> str:
        budget, sweep = self.params.budget, self.params.sweep
        words = f"{budget.amount:.4g} {budget.kind} for every run, {len(self.params.seeds)} seeds"
        if not _trials(self.params):
            return f"{words}; learning rates as given"
        width = f" at width {sweep.width}" if sweep.width is not None else ""
        return (
            f"{words}; {_trials(self.params)} learning-rate trials{width} of {sweep.share:.0%} of it for every method"
        )


def _flags(params: CompareParams) -> list[str]:
    """Return what is to be known from the configuration alone."""
    flags = []
    if len(params.seeds) < FEW_SEEDS:
        flags.append(
            f"{len(params.seeds)} seeds, fewer than {FEW_SEEDS}: the errors over seeds are themselves uncertain"
        )
    if not _trials(params):
        flags.append("no learning rate was searched for: a method may look worse than it is")
    if params.budget.kind == "minutes":
        flags.append("the budget is time: steps differ between methods and the numbers belong to this machine")
    bounds = {PROCESSES[method.process.name].bound for method in params.methods.values()}
    if len(bounds) > 1:
        flags.append("tight bounds, loose bounds and losses do not compare with one another: read each column alone")
    return flags


def _trials(params: CompareParams) -> int:
    """Return the trials of each method."""
    return len(params.sweep.factors) if len(params.sweep.factors) > 1 else 0


def _score(result: Record) -> float | None:
    value = result.get("bits_per_byte")
    return result.get("loss") if value is None else value


def _claim(folder: Path, params: CompareParams) -> None:
    """Write the comparison's ``config.toml``, or check that the one that is there is the same comparison.

    Raises:
        ConfigError: The folder holds something else.
    """
    tables = tomllib.loads(to_toml(params))
    path = folder / CONFIG
    with folder_errors(folder, "folder"):
        if path.is_file():
            try:
                before = tomllib.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ConfigError(f"{path} is damaged: {error}; choose another name, or remove the folder") from None
            changed = [key for key in sorted({*before, *tables}) if before.get(key) != tables.get(key)]
            changed = [key for key in changed if key not in PRESENTATION]
            if changed:
                raise ConfigError(
                    f"{folder} holds a comparison with another {changed[0]}; choose another name, or remove the folder"
                )
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files that are not a comparison's; choose another name, or empty it")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(to_toml(params), encoding="utf-8")


@contextmanager
def _nothing_kept_of_a_refusal(folder: Path) -> Iterator[None]:
    """Take back what ``_claim`` and ``_text`` wrote if the comparison is refused before a run has begun."""
    try:
        yield
    except FlowLMError:
        if {path.name for path in folder.iterdir()} <= {CONFIG, TOKENIZER}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _text(params: CompareParams, folder: Path) -> tuple[TextData, dict[str, Any]]:
    """Open the text with a tokenizer that is trained once, and return the table by which every run reads it."""
    table = params.tokenizer.model_dump(mode="json", exclude_none=True)
    trained = params.tokenizer.name == "bpe"
    kept = {"name": "files", "path": str(folder / TOKENIZER)}
    is_there = trained and (folder / TOKENIZER).is_dir()
    first = next(iter(params.methods))
    run = params.run_of(first, {"tokenizer": kept} if is_there else {})
    text = open_text(
        params.data, run.tokenizer, params.model.context_length, params.seeds[0], say, None, lambda tokenizer: None
    )
    if text.held_out is None:
        raise ConfigError("nothing is held out of the text; set data.validation_fraction or data.validation_source")
    if trained and not is_there:
        text.tokenizer.save(folder / TOKENIZER)
    return text, kept if trained else table
