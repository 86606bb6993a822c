"""``flowlm infer``: continue prompts, or write from nothing; samples come out batch by batch."""

from __future__ import annotations

import json
import reprlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from diffusionlm.errors import DataError
from diffusionlm.generation import Generation, generate
from diffusionlm.paths import user_path
from diffusionlm.workflows.batch_by_batch import batch_by_batch
from diffusionlm.workflows.opened import open_checkpoint
from diffusionlm.workflows.params import InferParams
from diffusionlm.workflows.talk import plural


@dataclass(frozen=True)
class Sample:
    """One sample on its way out.

    Attributes:
        prompt: What it continues.
        number, of: Which sample of how many, over all prompts.
        generation: The sample.
    """

    prompt: str
    number: int
    of: int
    generation: Generation

    @property
    def text(self) -> str:
        """Prompt and continuation."""
        return self.prompt + self.generation.text

    def headline(self) -> str:
        """Return one line about how it was made."""
        made = self.generation
        return (
            f"sample {self.number + 1} of {self.of}: {plural(len(made.ids), 'token')}, "
            f"{plural(made.nfe, 'network evaluation')}, {made.tokens_per_second:.1f} tokens/s, "
            f"stopped by {made.stopped}"
        )

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object; ``completion`` is the generated part of ``text``."""
        made = asdict(replace(self.generation, trace=None))
        completion, _ = made.pop("text"), made.pop("trace")
        return {
            "sample": self.number,
            "prompt": self.prompt,
            "completion": completion,
            "text": self.text,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in made.items()},
        }


def infer(params: InferParams) -> Iterator[Sample]:
    """Yield every sample as its batch is finished.

    Raises:
        FlowLMError: The checkpoint is missing or damaged, or a prompt is longer than the context.
    """
    prompts = [*params.prompts, *_prompts_of(params.prompts_file)]
    if not prompts and params.prompts_file is not None:
        raise DataError(f"{params.prompts_file} holds no prompt; give one per line, or leave the file out")
    prompts = prompts or [""]
    opened = open_checkpoint(params)
    total = len(prompts) * params.generation.samples
    for number, prompt, one in batch_by_batch(generate, opened, prompts, params.generation, params.watch, params.trace):
        yield Sample(prompt, number, total, one)


def _prompts_of(file: str | None) -> list[str]:
    """Return the prompts of a file: one per line, or the "prompt" of every JSON line; "-" reads lines from stdin.

    A line ends at a line feed, with the carriage return before it where there is one; other characters that Unicode
    calls line breaks belong to the prompt. A byte order mark, which some editors put at the beginning, belongs to none.
    """
    if file is None:
        return []
    lines = [line.removesuffix("\r") for line in read_text(file).removeprefix("\ufeff").split("\n")]
    if not file.endswith(".jsonl"):
        return [line for line in lines if line]
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(
                f'{file}, line {number}: expected a JSON object with a "prompt", got {reprlib.repr(line)}'
            ) from None
        if not isinstance(prompt, str):
            raise DataError(f'{file}, line {number}: "prompt" holds {type(prompt).__name__}, not text')
        prompts.append(prompt)
    return prompts


def read_text(file: str) -> str:
    """Return the text of a file, or of stdin for "-", to the byte: line ends are kept as they are.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    try:
        raw = sys.stdin.buffer.read() if file == "-" else user_path(file).read_bytes()
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 at byte {error.start}; convert it first") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}; give a text file, or - for stdin") from None
