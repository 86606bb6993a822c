"""Samples of a model as tables: continuations of prompts, and texts with their holes filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffusionlm.generation import (
    GenerationParams,
    InfillingParams,
    SamplingParams,
    generate,
    infill,
    parse_holes,
)
from diffusionlm.generation.blocks import Blocks
from diffusionlm.generation.canvas import check_infill, lay_out, prompt_template
from diffusionlm.generation.infill import template_of
from diffusionlm.model.transformer import Transformer
from diffusionlm.process import Process
from diffusionlm.tokenizer import Tokenizer
from diffusionlm.training.params import SamplesParams

Table = tuple[str, Sequence[str], list[list[str | int]]]


def check_samples(tokenizer: Tokenizer, context_length: int, wanted: SamplesParams, how: GenerationParams) -> None:
    """Refuse, before anything is trained, samples that could not be made afterwards.

    Raises:
        ConfigError: A prompt and the length to generate, or a text with its holes, are longer than the context; a text
            has no hole or a malformed one; or there are fewer steps than blocks.
    """
    templates = [
        prompt_template(tokenizer.encode(prompt), how.length, context_length, f"samples.prompts {number}")
        for number, prompt in enumerate(wanted.prompts, 1)
    ]
    for number, text in enumerate(wanted.infill, 1):
        template = template_of(parse_holes(text), tokenizer)
        check_infill(template, context_length, f"samples.infill {number}")
        templates.append(template)
    for template in templates:
        Blocks.of(lay_out([template], [0]).editable, how.block_length, how.steps)


def sample_tables(
    model: Transformer, tokenizer: Tokenizer, process: Process, wanted: SamplesParams, how: GenerationParams
) -> Iterator[Table]:
    """Yield (name, columns, rows) of each kind of sample that is wanted; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        if wanted.prompts:
            made = generate(model, tokenizer, process, wanted.prompts, how)
            prompts = [prompt for prompt in wanted.prompts for _ in range(how.samples)]
            yield (
                "samples",
                ("prompt", "text", "network_evaluations"),
                [[prompt, one.text, one.nfe] for prompt, one in zip(prompts, made, strict=True)],
            )
        if wanted.infill:
            shared = {name: vars(how)[name] for name in SamplingParams.model_fields}
            filled = infill(model, tokenizer, process, wanted.infill, InfillingParams(**shared))
            texts = [text for text in wanted.infill for _ in range(how.samples)]
            yield (
                "infilled",
                ("given", "text", "network_evaluations"),
                [[text, one.text, one.nfe] for text, one in zip(texts, filled, strict=True)],
            )
    finally:
        model.train(was_training)
