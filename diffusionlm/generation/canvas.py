"""Canvases: rows of given tokens and holes, from which every generation starts.

A prompt to continue is a canvas whose last piece is a hole; a text to infill has holes anywhere. Given tokens are
frozen: no sampler can change them. Canvases of different lengths share a batch by padding on the right, which neither
attention nor a random stream can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffusionlm.errors import ConfigError
from diffusionlm.lazy import torch
from diffusionlm.process import Layout


@dataclass(frozen=True)
class Hole:
    """``length`` tokens to be generated.

    Attributes:
        length: Tokens.
        draft: The ids that stand there to begin with, as many; empty = noise.
    """

    length: int
    draft: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.draft) in (0, self.length), (len(self.draft), self.length)


@dataclass(frozen=True)
class Template:
    """One canvas.

    Attributes:
        pieces: Given ids and holes, in order.
    """

    pieces: tuple[tuple[int, ...] | Hole, ...]

    @property
    def length(self) -> int:
        """Tokens of the canvas."""
        return sum(piece.length if isinstance(piece, Hole) else len(piece) for piece in self.pieces)

    def spans(self) -> list[tuple[int, int]]:
        """Return the (start, end) positions of every hole."""
        spans, start = [], 0
        for piece in self.pieces:
            end = start + (piece.length if isinstance(piece, Hole) else len(piece))
            if isinstance(piece, Hole):
                spans.append((start, end))
            start = end
        return spans

    def ids(self) -> list[int]:
        """Return the given ids; inside holes their draft, or 0."""
        ids: list[int] = []
        for piece in self.pieces:
            ids += (piece.draft or [0] * piece.length) if isinstance(piece, Hole) else piece
        return ids

    def drafted(self) -> list[bool]:
        """Return which positions begin as a draft."""
        flags: list[bool] = []
        for piece in self.pieces:
            flags += [bool(piece.draft)] * piece.length if isinstance(piece, Hole) else [False] * len(piece)
        return flags


@dataclass(frozen=True)
class Canvas:
    """A batch of canvases.

    Attributes:
        ids: (B, T) int64, the given tokens; in holes their draft, or 0; 0 in padding.
        editable: (B, T) bool, the holes. Everything else is frozen.
        segments: (B, T) int64, 1 inside the canvas, 0 in its padding.
        sample: (B,) int64, each row's sample index, which names its random stream.
        draft: (B, T) bool, the positions in holes that begin as a draft; None = there are none.
        kept: (B, T) bool, frozen positions that were generated earlier and not given; None = there are none.
    """

    ids: torch.Tensor
    editable: torch.Tensor
    segments: torch.Tensor
    sample: torch.Tensor
    draft: torch.Tensor | None = None
    kept: torch.Tensor | None = None

    @property
    def given(self) -> torch.Tensor:
        """(B, T) bool, the given tokens: what is neither a hole nor padding, and was not generated."""
        frozen = ~self.editable & (self.segments > 0)
        return frozen if self.kept is None else frozen & ~self.kept

    def positions(self) -> torch.Tensor:
        """Return (B, T) int64, the place of each position in its canvas."""
        return torch.arange(self.ids.shape[1], device=self.ids.device).expand_as(self.ids)

    def layout(self) -> Layout:
        """Return what the model attends over."""
        return Layout(segments=self.segments if bool((self.segments == 0).any()) else None)


def lay_out(templates: Sequence[Template], samples: Sequence[int], device: torch.device | str = "cpu") -> Canvas:
    """Return the batch of canvases of some templates, padded on the right to the longest.

    Args:
        templates: At least one.
        samples: The sample index of each.
        device: Where the tensors live.
    """
    assert len(templates) == len(samples), (len(templates), len(samples))
    width = max(template.length for template in templates)
    ids = torch.zeros((len(templates), width), dtype=torch.int64)
    editable = torch.zeros((len(templates), width), dtype=torch.bool)
    segments = torch.zeros((len(templates), width), dtype=torch.int64)
    draft = torch.zeros((len(templates), width), dtype=torch.bool)
    for row, template in enumerate(templates):
        ids[row, : template.length] = torch.tensor(template.ids(), dtype=torch.int64)
        segments[row, : template.length] = 1
        draft[row, : template.length] = torch.tensor(template.drafted(), dtype=torch.bool)
        for start, end in template.spans():
            editable[row, start:end] = True
    index = torch.tensor(list(samples), dtype=torch.int64)
    begun = draft.to(device) if bool(draft.any()) else None
    return Canvas(ids.to(device), editable.to(device), segments.to(device), index.to(device), begun)


def prompt_template(prompt: Sequence[int], length: int | None, context_length: int, name: str = "prompt") -> Template:
    """Return the canvas of a prompt to continue.

    Args:
        prompt: Its ids; may be empty.
        length: Tokens to generate; None = as many as the context holds.
        context_length: Tokens of the longest canvas.
        name: What to call it in a message.

    Raises:
        ConfigError: The prompt, or the prompt and the tokens to generate, are longer than the context.
    """
    if len(prompt) >= context_length:
        raise ConfigError(
            f"{name} is longer than the context: {len(prompt)} tokens, and a canvas holds {context_length}, at least "
            f"one of them generated; shorten it to {context_length - 1} tokens or fewer"
        )
    room = context_length - len(prompt)
    if length is not None and length > room:
        raise ConfigError(
            f"{name} of {len(prompt)} tokens and length {length} make {len(prompt) + length}, more than the context of "
            f"{context_length}; use a length of at most {room}, or a shorter prompt"
        )
    return Template((tuple(prompt), Hole(room if length is None else length)))


def check_ids(ids: Sequence[int], vocabulary: int, name: str = "prompt") -> None:
    """Check that given ids are data tokens.

    Raises:
        ConfigError: One of them is not.
    """
    for token in ids:
        if not 0 <= token < vocabulary:
            raise ConfigError(
                f"{name} holds id {token}, which is not a token of the vocabulary (0 … {vocabulary - 1}); "
                "encode it with the tokenizer of this checkpoint"
            )


def check_infill(template: Template, context_length: int, name: str = "text") -> None:
    """Check a text with holes.

    Raises:
        ConfigError: It has no hole, or is longer than the context.
    """
    if not template.spans():
        raise ConfigError(f"{name} has no hole to fill; write <|hole:12|> where 12 tokens are wanted")
    if template.length > context_length:
        raise ConfigError(
            f"{name} is longer than the context: {template.length} tokens with its holes, and a canvas holds "
            f"{context_length}; shorten it or its holes"
        )
