"""From templates to finished canvases: batching by length, the model's mode, the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusionlm.device import arithmetic_device
from diffusionlm.errors import ConfigError
from diffusionlm.generation.canvas import Canvas, Template, lay_out
from diffusionlm.generation.loop import Observer, Sampled, sample
from diffusionlm.generation.params import SamplingParams
from diffusionlm.generation.self_correction import self_correct, unsettled
from diffusionlm.generation.trace import Trace, traces_of
from diffusionlm.process import Process
from diffusionlm.sampling import Predictor, Sampler
from diffusionlm.sampling.predictor import build_predictor

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer


@dataclass(frozen=True)
class Completed:
    """One finished canvas.

    Attributes:
        ids: Its tokens, padding removed. After ``stop_id`` they may be noise.
        nfe: Network evaluations that it took part in.
        seconds: Wall time of the batch that it was in.
        trace: Every change, if asked for.
    """

    ids: tuple[int, ...]
    nfe: int
    seconds: float
    trace: Trace | None


def complete(
    model: Transformer,
    process: Process,
    templates: Sequence[Template],
    params: SamplingParams,
    *,
    stop_id: int | None = None,
    first_sample: int = 0,
    trace: bool = False,
    observe: Observer | None = None,
) -> list[Completed]:
    """Fill the holes of every template, in batches of similar length; results in the order of ``templates``.

    Args:
        model: Sampling runs on its device, or beside one without float64; its mode is restored.
        process: The noising process that the model was trained with.
        templates: The canvases; number i is sample ``first_sample`` + i.
        params: Sampler, steps, filters, seed, batch size.
        stop_id: A token that ends a row's text, or None.
        first_sample: Index of the first sample: a shard of a longer list gives the samples that the whole would.
        trace: Record every change.
        observe: Called with every frame of every batch.

    Raises:
        ConfigError: Too few steps for the blocks, or a shifted model without a given first token.
        PairingError: The sampler, the guidance or the correction does not fit the process.
    """
    sampler = params.build_sampler(process)
    params.check(process)
    _check_shift(model, templates)
    device = arithmetic_device(next(model.parameters()).device)
    order = sorted(range(len(templates)), key=lambda i: templates[i].length)
    results: dict[int, Completed] = {}
    with evaluating(model):
        for start in range(0, len(order), params.batch_size):
            members = order[start : start + params.batch_size]
            canvas = lay_out([templates[i] for i in members], [first_sample + i for i in members], device)
            began = time.perf_counter()
            sampled = _sample(model, sampler, canvas, params, stop_id, trace, observe)
            # Copying to the host waits for the device, so the clock stops after the work, not after its launch.
            ids, nfe = sampled.ids.tolist(), sampled.nfe.tolist()
            seconds = time.perf_counter() - began
            lengths = [templates[i].length for i in members]
            traces = traces_of(sampled.start, sampled.trace, canvas.sample.tolist(), lengths) if trace else None
            for row, i in enumerate(members):
                results[i] = Completed(
                    tuple(ids[row][: lengths[row]]), nfe[row], seconds, None if traces is None else traces[row]
                )
    return [results[i] for i in range(len(templates))]


def _sample(
    model: Transformer,
    sampler: Sampler,
    canvas: Canvas,
    params: SamplingParams,
    stop_id: int | None,
    trace: bool,
    observe: Observer | None,
) -> Sampled:
    """Run the loop over one batch, and the rounds of correction after it where there are any."""

    # Guidance asks for two batches in one, of which the cache would hold neither.
    cache = params.cache and not model.params.shift and params.guidance == 0.0

    def head(of: Canvas) -> Predictor:
        return build_predictor(model, of.layout(), sampler.process, cache)

    correction = params.self_correction
    sampled = sample(
        head(canvas),
        sampler,
        canvas,
        steps=params.steps,
        seed=params.seed,
        block_length=params.block_length,
        stop_id=stop_id,
        guidance=params.guidance,
        trace=trace,
        observe=observe if observe is None or correction is None else unsettled(observe, canvas),
    )
    if correction is None:
        return sampled
    return self_correct(
        correction,
        sampler.process,
        head,
        canvas,
        sampled,
        seed=params.seed,
        stop_id=stop_id,
        guidance=params.guidance,
        trace=trace,
        observe=observe,
    )


@contextmanager
def evaluating(model: Transformer) -> Iterator[None]:
    """Put the model in evaluation mode, and back into its own at the end."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check_shift(model: Transformer, templates: Sequence[Template]) -> None:
    """A shifted model reads token i off state i − 1, so nothing can predict the first token of a canvas."""
    if model.params.shift and any(start == 0 for template in templates for start, end in template.spans() if end > 0):
        raise ConfigError(
            "this model predicts each token from the one before it (shift = 1) and so cannot make up the first one; "
            "start the prompt or text with at least one token"
        )
