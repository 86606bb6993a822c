"""Continue prompts: a canvas whose last piece is a hole, cut at the first end-of-text token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diffusionlm.generation.batches import Completed, complete
from diffusionlm.generation.canvas import check_ids, prompt_template
from diffusionlm.generation.loop import Observer
from diffusionlm.generation.params import GenerationParams
from diffusionlm.generation.trace import Trace
from diffusionlm.process import Process

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer
    from diffusionlm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Generation:
    """One continuation.

    Attributes:
        text: The generated text alone, special tokens left out.
        ids: The generated tokens, up to and without the end-of-text token.
        prompt_ids: The prompt's tokens.
        nfe: Network evaluations that it took.
        seconds: Wall time of the batch that it was in.
        tokens_per_second: Its own tokens (end-of-text included) over ``seconds``; the sum over a batch is the batch's
            throughput.
        stopped: Whether an end-of-text token or the length ended it.
        trace: Every change, if asked for.
    """

    text: str
    ids: tuple[int, ...]
    prompt_ids: tuple[int, ...]
    nfe: int
    seconds: float
    tokens_per_second: float
    stopped: Literal["eos", "length"]
    trace: Trace | None = None


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    process: Process,
    prompts: Sequence[str | Sequence[int]],
    params: GenerationParams,
    *,
    first_sample: int = 0,
    trace: bool = False,
    observe: Observer | None = None,
) -> list[Generation]:
    """Continue every prompt ``params.samples`` times.

    Args:
        model: The network; its device is where sampling runs.
        tokenizer: The one it was trained with.
        process: The one it was trained with.
        prompts: Texts or ids; empty ones mean from nothing.
        params: How.
        first_sample: Index of the first sample, for a shard of a longer list of prompts.
        trace: Record every change.
        observe: Called with every frame.

    Returns:
        Sample j of prompt i at index i·samples + j.

    Raises:
        ConfigError: A prompt is longer than the context or has unknown ids, or steps are fewer than blocks.
        PairingError: The sampler does not fit the process.
    """
    encoded = [tuple(tokenizer.encode(prompt)) if isinstance(prompt, str) else tuple(prompt) for prompt in prompts]
    context = model.params.context_length
    for number, ids in enumerate(encoded, 1):
        check_ids(ids, process.vocabulary.size, f"prompt {number}")
    templates = [
        prompt_template(ids, params.length, context, f"prompt {number}") for number, ids in enumerate(encoded, 1)
    ]
    templates = [template for template in templates for _ in range(params.samples)]
    prompt_ids = [ids for ids in encoded for _ in range(params.samples)]
    completed = complete(
        model,
        process,
        templates,
        params,
        stop_id=tokenizer.eos_id,
        first_sample=first_sample,
        trace=trace,
        observe=observe,
    )
    return [_finish(done, ids, tokenizer) for done, ids in zip(completed, prompt_ids)]


def _finish(completed: Completed, prompt_ids: tuple[int, ...], tokenizer: Tokenizer) -> Generation:
    """Trim a finished canvas to its text."""
    new = completed.ids[len(prompt_ids) :]
    ended = tokenizer.eos_id in new
    ids = new[: new.index(tokenizer.eos_id)] if ended else new
    assert all(i < tokenizer.vocab_size for i in ids), f"ids up to {max(ids)} of {tokenizer.vocab_size}: noise is left"
    return Generation(
        text=tokenizer.decode(list(ids), skip_special=True),
        ids=ids,
        prompt_ids=prompt_ids,
        nfe=completed.nfe,
        seconds=completed.seconds,
        tokens_per_second=(len(ids) + ended) / completed.seconds,
        stopped="eos" if ended else "length",
        trace=completed.trace,
    )
