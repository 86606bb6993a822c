"""``flowlm train``: from a text and a configuration to a trained model that has been scored and has spoken.

tokenizer → rows → network → steps with validation, samples and checkpoints → held-out likelihood next to the baselines
→ samples and an infilled line. Everything that can be wrong with the configuration is found before training begins.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusionlm.checkpoint import Best, discard_newer, load_checkpoint, retain
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.stream import stream
from diffusionlm.evaluation import (
    BaselineReport,
    ByteCounts,
    LikelihoodReport,
    likelihood,
    score_baselines,
)
from diffusionlm.optim import build_lr_schedule
from diffusionlm.runlog import MemoryHistory, NormProbe, Nvtx, RunLog, collect_provenance, open_run_log
from diffusionlm.training.budget import Used, expected_steps
from diffusionlm.training.loop import Hooks, Intervals, Loop, Outcome
from diffusionlm.training.signals import stop_on_signals
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows.assemble import Parts, build_parts, restore, save_parts
from diffusionlm.workflows.corpus import (
    TextData,
    batches_in_order,
    fit_baselines,
    open_text,
    score_text,
    spread_documents,
)
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.run_folder import CHECKPOINTS, TOKENIZER, Start, decide_start, write_description
from diffusionlm.workflows.runtime import choose_device, keep_memory, make_deterministic, set_threads
from diffusionlm.workflows.samples import sample_tables
from diffusionlm.workflows.talk import final_words, say, stopped_words

METRIC = "validation/bits_per_byte"


@dataclass(frozen=True)
class TrainReport:
    """How a run ended.

    Attributes:
        folder: The run folder.
        checkpoint: Its last checkpoint.
        outcome: Why the loop ended, and at which step.
        likelihood, baselines: The final held-out scores; None if validation is skipped or the run was stopped.
    """

    folder: Path
    checkpoint: Path
    outcome: Outcome
    likelihood: LikelihoodReport | None
    baselines: BaselineReport | None

    def report(self) -> str:
        """Return the product of the command: the path of the last checkpoint."""
        return str(self.checkpoint)

    @property
    def exit_code(self) -> int:
        """0 for a finished run; 128 + the signal's number for one that a signal stopped, as shells have it."""
        return 0 if self.outcome.reason == "finished" else 128 + int(signal.Signals[self.outcome.reason])


def train(params: TrainParams) -> TrainReport:
    """Train as configured, or go on with a run.

    Raises:
        FlowLMError: Something in the configuration, the text or the run folder is wrong; one line says what.
    """
    folder = params.output_folder()
    start = decide_start(folder, params.run.resume)
    device = choose_device(params.run.device)
    set_threads(params.run.threads)
    keep_memory()
    make_deterministic(params.run.deterministic)
    for note in start.notes:
        say(note)
    checkpoint = None if start.checkpoint is None else load_checkpoint(start.checkpoint)
    text = open_text(
        params.data,
        params.tokenizer,
        params.model.context_length,
        params.run.seed,
        say,
        None if checkpoint is None else checkpoint.tokenizer(),
    )
    parts = build_parts(params, text.tokenizer.vocab_size, device)
    if checkpoint is not None:
        restore(parts, checkpoint, params, text.fingerprint)
        say(f"resuming {checkpoint.path} at step {parts.progress.step}")
    counts = None if checkpoint is None else checkpoint.byte_counts()
    byte_counts = fit_baselines(text) if counts is None else ByteCounts.from_tensors(counts)
    return _Run(params, folder, device, text, parts, byte_counts, start).run()


class _Run:
    """One session of a run: the parts, where they are logged, and what happens at the intervals."""

    def __init__(
        self,
        params: TrainParams,
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
        write_description(folder, params, provenance)
        if not (folder / TOKENIZER).is_dir():
            text.tokenizer.save(folder / TOKENIZER)
        git: Mapping[str, Any] = provenance["git"] or {"commit": None}
        self.origin = {"commit": git["commit"], "started": provenance["started"]}
        if start.checkpoint is not None and start.in_place:
            discard_newer(self.checkpoints, parts.progress.step)
        self.rows = text.held_out_rows(params.validation.rows) if self.validates else []
        self.byte_lengths = text.tokenizer.byte_lengths()
        self.sampled = -1  # the last step that was sampled
        self.log: RunLog

    @property
    def validates(self) -> bool:
        """Whether there is validation."""
        return not self.params.validation.skip and self.text.held_out is not None

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
        with log, stop_on_signals() as stop:
            self.log = log
            self._introduce()
            loop = self._loop(tokens_per_step)
            with self.steps:
                outcome = loop.run(stop)
            last = self.checkpoints / f"step-{outcome.step}"
            if outcome.reason != "finished":
                log.close()
                say(stopped_words(outcome, last, self.folder))
                return TrainReport(self.folder, last, outcome, None, None)
            report, baselines = self._final_scores()
            if self.sampled != outcome.step:
                self._samples(outcome.step)
            log.artifact("checkpoint", last, "model")
        say(final_words(self.folder, report, baselines, state, params.samples))
        return TrainReport(self.folder, last, outcome, report, baselines)

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
            validate=params.validation.every if self.validates else 0,
            sample=params.samples.every,
            save=params.checkpoints.every,
            log=log.log_every,
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
            Hooks(self._validate, self._samples, self._save, self._loss_metrics),
            tokens_per_step=tokens_per_step,
            probe=probe if wanted else None,
        )

    def _loss_metrics(self, loss: float) -> dict[str, float]:
        if not self.parts.objective.is_bound or not self.parts.objective.params.times.whole_range:
            return {}
        return {"bits_per_byte": loss / math.log(2) / self.text.bytes_per_token}

    def _averaged(self) -> AbstractContextManager[Any]:
        ema = self.parts.ema
        return nullcontext() if ema is None else ema.swap(self.parts.parameters)

    def _validate(self, step: int) -> bool:
        report = self._score(self.rows, self.params.validation.draws)
        self.log.log(
            {
                METRIC: report.bits_per_byte,
                "validation/nats_per_token": report.nats_per_token,
                "validation/error": report.bits_per_byte_error or 0.0,
            },
            step,
        )
        best = self.parts.best
        if best is None or report.bits_per_byte < best.value:
            self.parts.best = Best(METRIC, report.bits_per_byte, step)
            return self.params.checkpoints.best
        return False

    def _score(self, batches: Any, draws: int) -> LikelihoodReport:
        """Bound the likelihood with the averaged weights, in float32, on noise that training never sees."""
        model = self.parts.model
        precision, model.compute_dtype = model.compute_dtype, torch.float32
        try:
            with self._averaged():
                return likelihood(
                    model,
                    self.parts.process,
                    batches,
                    self.byte_lengths,
                    draws=draws,
                    seed=self.params.validation.seed,
                    device=self.device,
                )
        finally:
            model.compute_dtype = precision

    def _samples(self, step: int) -> None:
        self.sampled = step
        with self._averaged():
            for name, columns, rows in sample_tables(
                self.parts.model, self.text.tokenizer, self.parts.process, self.params.samples, self.params.generation
            ):
                self.log.table(name, columns, rows, step)

    def _save(self, step: int) -> None:
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

    def _final_scores(self) -> tuple[LikelihoodReport | None, BaselineReport | None]:
        if not self.validates:
            return None, None
        assert self.text.held_out is not None
        store = spread_documents(self.text.held_out, self.params.validation.final_tokens)
        loader = RowLoader(store, self.text.context_length, self.params.data.packing)
        report = self._score(batches_in_order(loader), self.params.validation.draws)
        return report, score_baselines(self.byte_counts, score_text(store, self.text.tokenizer))
