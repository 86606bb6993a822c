"""``flowlm train``: from a text and a configuration to a trained model that has been scored and has spoken.

tokenizer → rows → network → steps with validation, samples and checkpoints → held-out likelihood next to the baselines
→ samples and an infilled line. Everything that can be wrong with the configuration is found before training begins.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffusionlm.checkpoint import Best, discard_newer, load_checkpoint, retain
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.stream import stream
from diffusionlm.errors import DivergedError
from diffusionlm.evaluation import ByteCounts
from diffusionlm.objective.variance import found_in, search_times
from diffusionlm.optim import build_lr_schedule
from diffusionlm.registry import params_name
from diffusionlm.runlog import (
    SAMPLES_FILE,
    MemoryHistory,
    NormProbe,
    Nvtx,
    RunLog,
    collect_provenance,
    open_run_log,
    read_jsonl,
)
from diffusionlm.training.budget import Used, expected_steps
from diffusionlm.training.loop import Hooks, Intervals, Loop, Outcome
from diffusionlm.training.signals import Terminated, stop_on_signals
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows.assemble import Parts, build_parts, check_resumable, restore, save_parts
from diffusionlm.workflows.changes import tell_changes
from diffusionlm.workflows.corpus import TextData, fit_baselines, open_text
from diffusionlm.workflows.held_out import FinalScores, HeldOut, averaged
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.resolved import to_toml
from diffusionlm.workflows.run_folder import (
    CHECKPOINTS,
    CONFIG,
    Start,
    decide_start,
    write_description,
    write_tokenizer,
)
from diffusionlm.workflows.run_lock import RunLock
from diffusionlm.workflows.runtime import choose_device, keep_memory, make_deterministic, set_threads
from diffusionlm.workflows.samples import check_samples, sample_tables
from diffusionlm.workflows.talk import say
from diffusionlm.workflows.train_report import TrainReport
from diffusionlm.workflows.train_words import interrupted_words, next_words, score_words, stopped_words

METRIC, CE_METRIC = "validation/bits_per_byte", "validation/ce"


def train(params: TrainParams) -> TrainReport:
    """Train as configured, or go on with a run.

    Raises:
        FlowLMError: Something in the configuration, the text or the run folder is wrong; one line says what.
    """
    tables = tomllib.loads(to_toml(params))
    with RunLock(params.output_folder()) as lock:
        return _prepare(params, tables, lock).run()


def _prepare(params: TrainParams, tables: dict[str, Any], lock: RunLock) -> _Run:
    """Return a session of the run, ready to begin: everything that can be refused has been looked at."""
    folder = lock.folder
    start = decide_start(folder, params.run.resume)
    device = choose_device(params.run.device)
    set_threads(params.run.threads)
    keep_memory()
    make_deterministic(params.run.deterministic)
    for note in start.notes:
        say(note)
    checkpoint = None if start.checkpoint is None else load_checkpoint(start.checkpoint)
    if checkpoint is not None:
        check_resumable(checkpoint, params)
    text = open_text(
        params.data,
        params.tokenizer,
        params.model.context_length,
        params.run.seed,
        say,
        None if checkpoint is None else checkpoint.tokenizer(),
        lambda tokenizer: check_samples(tokenizer, params.model.context_length, params.samples, params.generation),
    )
    parts = build_parts(params, text.tokenizer.vocab_size, device)
    if checkpoint is not None:
        restore(parts, checkpoint, text.fingerprint)
        say(f"resuming {checkpoint.path} at step {parts.progress.step}")
        tables = tell_changes(checkpoint.path.parent.parent / CONFIG, params, tables)
        if not start.in_place:
            parts.best = None  # that checkpoint stays in the other run, and the held-out text may be another one
    counts = None if checkpoint is None else checkpoint.byte_counts()
    byte_counts = fit_baselines(text) if counts is None else ByteCounts.from_tensors(counts)
    lock.make()
    return _Run(params, tables, folder, device, text, parts, byte_counts, start)


class _Run:
    """One session of a run: the parts, where they are logged, and what happens at the intervals."""

    def __init__(
        self,
        params: TrainParams,
        tables: dict[str, Any],
        folder: Path,
        device: torch.device,
        text: TextData,
        parts: Parts,
        byte_counts: ByteCounts,
        start: Start,
    ) -> None:
        self.params, self.folder, self.device = params, folder, device
        self.text, self.parts, self.byte_counts, self.start = text, parts, byte_counts, start
        self.checkpoints = folder / CHECKPOINTS
        provenance = collect_provenance(seed=params.run.seed, data_hashes={"train": text.fingerprint})
        write_description(folder, tables, provenance)
        write_tokenizer(folder, text.tokenizer)
        git: Mapping[str, Any] = provenance["git"] or {"commit": None}
        self.origin = {"commit": git["commit"], "started": provenance["started"]}
        self.began_at = parts.progress.step
        self.abandons = start.checkpoint is not None and start.in_place
        self.held_out = HeldOut(text, params.validation, device) if _validates(params, text) else None
        self.log: RunLog

    def run(self) -> TrainReport:
        """Train, score, sample."""
        params, state = self.params, self.parts.progress
        tokens_per_step = params.training.batch_size * params.model.context_length
        used = Used(state.step, state.tokens, state.seconds)
        total = expected_steps(params.training, used, tokens_per_step)
        log = open_run_log(
            params.log,
            self.folder,
            total_steps=total if params.training.minutes is None or params.training.steps is not None else 0,
            config=params.model_dump(mode="json"),
            resume_step=state.step if self.start.in_place else None,
        )
        with log:
            self.log, self.sampled = log, self._sampled_before()
            with stop_on_signals() as stop:
                self._introduce()
                loop = self._loop(tokens_per_step)
                with self.steps:
                    outcome = loop.run(stop)
            last = self.checkpoints / f"step-{outcome.step}"
            if outcome.reason != "finished":
                log.close()
                say(stopped_words(outcome, last, self.folder))
                return TrainReport(self.folder, last, outcome, None)
            report = self._finish(last, outcome)
        if report.outcome.reason == "finished":
            say(next_words(self.folder, params.samples, self.parts.process.bound != "none"))
        return report

    def _finish(self, last: Path, outcome: Outcome) -> TrainReport:
        """Score and sample a finished run. Ctrl-C ends that at once: everything that took long is saved."""
        scores: FinalScores | None = None
        try:
            if self.held_out is not None and self.parts.process.bound == "none":
                self.log.say(f"held out: {self.held_out.curve(self.parts).words()}")
            elif self.held_out is not None:
                scores = self.held_out.final(self.parts, self.byte_counts)
            self.log.say(score_words(scores, self.parts.progress))
            self._samples(outcome.step)
            self.log.artifact("checkpoint", last, "model")
        except KeyboardInterrupt as stop:
            self.log.close()
            say(interrupted_words(last))
            name = stop.signal_name if isinstance(stop, Terminated) else "SIGINT"
            return TrainReport(self.folder, last, Outcome(name, outcome.step), scores)
        return TrainReport(self.folder, last, outcome, scores)

    def _sampled_before(self) -> set[tuple[str, int]]:
        """Return the tables that the folder holds already, by name and step, so that none is written twice."""
        path = self.folder / SAMPLES_FILE
        return {(line["table"], line["step"]) for line in read_jsonl(path)} if path.is_file() else set()

    def _introduce(self) -> None:
        store = self.text.loader.store if isinstance(self.text.loader, RowLoader) else None
        size = f"{store.n_bytes / 1e6:.1f} MB, {store.n_tokens / 1e6:.2f} M tokens, " if store is not None else ""
        weights = sum(parameter.numel() for parameter in self.parts.parameters.values())
        dtype = str(self.parts.model.compute_dtype).removeprefix("torch.")
        self.log.say(
            f"{self.text.corpus.train.describe()}: {size}vocabulary {self.text.tokenizer.vocab_size}; "
            f"{weights / 1e6:.2f} M weights on {self.device}, {dtype}; into {self.folder}"
        )

    def _loop(self, tokens_per_step: int) -> Loop:
        params, parts = self.params, self.parts
        self.steps = stream(
            self.text.loader,
            parts.cursor,
            params.training.batch_size,
            params.training.micro_batch_size or params.training.batch_size,
            prefetch=params.data.prefetch,
        )
        nvtx, self.memory = Nvtx(params.log.nvtx), MemoryHistory(params.log.memory_history)
        for note in (nvtx.note, self.memory.note):
            if note is not None:
                self.log.say(note)
        self.memory.start()
        step = TrainStep(
            torch.compile(parts.model, dynamic=True) if params.training.compile else parts.model,  # type: ignore[arg-type]
            parts.parameters,
            parts.objective,
            parts.optimizer,
            parts.ema,
            clip_norm=params.training.clip_norm or None,
            seed=params.run.seed,
            device=self.device,
            nvtx=nvtx,
        )
        log = params.log
        wanted = log.activation_norms or log.weight_norms or log.gradient_norms
        probe = NormProbe(
            parts.model, activations=log.activation_norms, weights=log.weight_norms, gradients=log.gradient_norms
        )
        intervals = Intervals(
            validate=params.validation.every if self.held_out is not None else 0,
            sample=params.samples.every,
            save=params.checkpoints.every,
            log=log.log_every,
            search=params.objective.times.search_every if self.held_out is not None else 0,
        )
        parts.model.train()
        return Loop(
            params.training,
            step,
            build_lr_schedule(params.lr_schedule),
            self.steps,
            parts.progress,
            self.log,
            intervals,
            Hooks(self._validate, self._samples, self._save, self._loss_metrics, self._search),
            tokens_per_step=tokens_per_step,
            probe=probe if wanted else None,
        )

    def _loss_metrics(self, loss: float) -> dict[str, float]:
        if not self.parts.objective.reports_bound:
            return {}
        tight = self.parts.objective.tightness(type(self.parts.process)) == "tight"
        name = "bits_per_byte" if tight else f"{params_name(type(self.parts.objective.params))}_bits_per_byte"
        return {name: loss / math.log(2) / self.text.bytes_per_token}

    def _validate(self, step: int) -> bool:
        assert self.held_out is not None, "validation has an interval only where there is held-out text"
        if self.parts.process.bound == "none":
            return self._validate_ce(step)
        report, of_sources = self.held_out.score(self.parts)
        metrics = {METRIC: report.bits_per_byte, "validation/nats_per_token": report.nats_per_token}
        if report.bits_per_byte_error is not None:
            metrics["validation/error"] = report.bits_per_byte_error
        for source in of_sources:
            name, part = f"validation/source_{source.number}", source.likelihood
            metrics[f"{name}/bits_per_byte"] = part.bits_per_byte
            if part.bits_per_byte_error is not None:
                metrics[f"{name}/error"] = part.bits_per_byte_error
        self.log.log(metrics, step)
        return self._is_best(METRIC, report.bits_per_byte, step)

    def _validate_ce(self, step: int) -> bool:
        """Report cross-entropies, under a name of their own, of a process that has no likelihood bound."""
        assert self.held_out is not None
        curve = self.held_out.curve(self.parts)
        points = {f"{CE_METRIC}_at_{t:g}": nats for t, nats in zip(curve.times, curve.nats)}
        self.log.log({CE_METRIC: curve.mean, **points}, step)
        return self._is_best(CE_METRIC, curve.mean, step)

    def _is_best(self, metric: str, value: float, step: int) -> bool:
        """Keep the best value so far; return whether this step is worth a checkpoint of its own."""
        best = self.parts.best
        if math.isfinite(value) and (best is None or value < best.value):
            self.parts.best = Best(metric, value, step)
            return self.params.checkpoints.best
        return False

    def _search(self, step: int) -> None:
        assert self.held_out is not None, "a search has an interval only where there is held-out text"
        parts = self.parts
        found, share = search_times(
            parts.objective, parts.model, self.held_out.rows, seed=self.params.run.seed, step=step, device=self.device
        )
        parts.objective.times, parts.progress.times = found, found_in(found)
        metrics = {"times/variance_share": share}
        if found.law == "uniform":
            metrics |= {"times/t_low": found.t_range[0], "times/t_high": found.t_range[1]}
        self.log.log(metrics, step)

    def _samples(self, step: int) -> None:
        parts, wanted = self.parts, self.params.samples
        names = {name for name, texts in (("samples", wanted.prompts), ("infilled", wanted.infill)) if texts}
        if all((name, step) in self.sampled for name in names):
            return
        with averaged(parts):
            try:
                for name, columns, rows in sample_tables(
                    parts.model, self.text.tokenizer, parts.process, wanted, self.params.generation
                ):
                    if (name, step) not in self.sampled:
                        self.log.table(name, columns, rows, step)
                        self.sampled.add((name, step))
            except DivergedError as error:  # what was trained is saved all the same, and a later step may recover
                self.log.say(f"step {step}: no samples: {error}")

    def _save(self, step: int) -> None:
        if self.abandons and step > self.began_at:
            # Not at the start: a session that saves nothing takes nothing. Not after the save: killed in between, the
            # run would next go on from the future that has been given up.
            removed = discard_newer(self.checkpoints, self.began_at)
            self.abandons = False
            if removed:
                names = ", ".join(path.name for path in removed)
                self.log.say(f"removed {names}: the run now goes on from step-{self.began_at}")
        self.parts.cursor = dict(self.steps.cursor)
        path = save_parts(self.checkpoints, self.parts, self.params, self.text, self.byte_counts, self.origin)
        best = self.parts.best
        retain(
            self.checkpoints,
            self.params.checkpoints.keep,
            (best.step,) if best is not None and self.params.checkpoints.best else (),
        )
        self.memory.dump(self.folder / "memory.pickle")
        assert path.name == f"step-{step}", f"saved {path} at step {step}"


def _validates(params: TrainParams, text: TextData) -> bool:
    return not params.validation.skip and text.held_out is not None
