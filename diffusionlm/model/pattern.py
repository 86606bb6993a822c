"""Which column sees which: one predicate, evaluated as a dense mask, as a FlexAttention block mask, or beside a cache.

A column sees another if they lie in one document segment, if ``causal`` allows it, and under block diffusion if the
blocks do (``Layout``). ``sees`` says so for columns whose properties broadcast against one another; the forms below
only choose how they are laid out, so that they cannot disagree. Where the pattern is that of block diffusion on CUDA,
FlexAttention skips the three quarters of [z ; x] that are never seen; elsewhere a dense mask serves every layer.
Dong et al. 2024 (FlexAttention), https://arxiv.org/abs/2412.05496.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Literal

import torch

from diffusionlm.kernels.attention import as_bias
from diffusionlm.process.layout import Layout

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Form = Literal["auto", "dense", "flex"]


@dataclass(frozen=True)
class Columns:
    """What the predicate reads of some columns; None where the layout has no such rule.

    Attributes:
        place: Their order, for ``causal``.
        segment, block, clean: See ``Layout``.
    """

    place: torch.Tensor | None
    segment: torch.Tensor | None
    block: torch.Tensor | None
    clean: torch.Tensor | None

    @classmethod
    def of(cls, layout: Layout, pick: Callable[[torch.Tensor], torch.Tensor]) -> Columns:
        """Return chosen columns of a layout; ``pick`` maps (B, S) to any shape."""
        values = (_places(layout), layout.segments, layout.blocks, layout.clean)
        return cls(*(None if value is None else pick(value) for value in values))


def _places(layout: Layout) -> torch.Tensor | None:
    """Return (B, S) int64: the order of the columns. In [z ; x] both halves have that of their text."""
    if not layout.causal:
        return None
    like = layout.segments if layout.segments is not None else layout.blocks
    assert like is not None, "a layout that is causal alone needs no mask"
    return layout.positions_of(like) if layout.clean is not None else replace(layout, positions=None).positions_of(like)


def sees(query: Columns, key: Columns) -> torch.Tensor:
    """Return bool: may the query see the key. The one definition of every attention pattern. arXiv:2503.09573, §3.4."""
    rules = []
    if query.segment is not None and key.segment is not None:
        rules.append(query.segment == key.segment)
    if query.place is not None and key.place is not None:
        rules.append(query.place >= key.place)
    if query.block is not None and key.block is not None:
        same, later = query.block == key.block, query.block > key.block
        if query.clean is None or key.clean is None:
            rules.append(same | later)
        else:
            rules.append((key.clean & (later | (query.clean & same))) | (~key.clean & ~query.clean & same))
    return reduce(torch.logical_and, rules)


def attention_mask(layout: Layout) -> torch.Tensor | None:
    """Return (B, 1, T, T) bool, True where a query may see a key, or None where ``causal`` alone says it.

    Padding (segment 0) sees padding, so that no query is left without a key; nothing scores it.
    """
    if layout.segments is not None and one_document(layout.segments):
        layout = replace(layout, segments=None)
    if layout.segments is None and layout.blocks is None:
        return None
    return sees(
        Columns.of(layout, lambda value: value[:, None, :, None]),
        Columns.of(layout, lambda value: value[:, None, None, :]),
    )


def cached_mask(layout: Layout, columns: torch.Tensor, readable: torch.Tensor) -> torch.Tensor:
    """Return (B, 1, N, W) bool: what new columns see of the first W columns of a canvas.

    Args:
        layout: Of the whole canvases, (B, T).
        columns: (B, N) int64, the new columns.
        readable: (B, W) bool, which columns have keys and values.
    """
    if layout.segments is None and layout.blocks is None:
        place = torch.arange(readable.shape[1], device=columns.device)
        seen = (
            columns[:, None, :, None] >= place if layout.causal else torch.ones_like(columns).bool()[:, None, :, None]
        )
    else:
        seen = sees(
            Columns.of(layout, lambda value: value.gather(1, columns)[:, None, :, None]),
            Columns.of(layout, lambda value: value[:, None, None, : readable.shape[1]]),
        )
    return seen & readable[:, None, None, :]


def flex_mask(layout: Layout, shape: tuple[int, int], device: torch.device) -> BlockMask:
    """Return FlexAttention's block mask of a layout over (B, S) columns."""
    from torch.nn.attention.flex_attention import create_block_mask

    batch, length = shape
    if layout.segments is None and layout.blocks is None:
        layout = replace(layout, segments=torch.ones(shape, dtype=torch.int64, device=device))

    def rule(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        del h
        return sees(Columns.of(layout, lambda value: value[b, q]), Columns.of(layout, lambda value: value[b, k]))

    return create_block_mask(rule, batch, None, length, length, device=device)  # type: ignore[arg-type]


def uses_flex(layout: Layout, h: torch.Tensor, form: Form) -> bool:
    """Return whether a pass uses FlexAttention: block diffusion over [z ; x] on CUDA, unless told otherwise."""
    if form != "auto":
        return form == "flex"
    return h.device.type == "cuda" and layout.clean is not None and h.dtype != torch.float64


def attention_pattern(layout: Layout, h: torch.Tensor, form: Form) -> torch.Tensor | BlockMask | None:
    """Return what ``attend`` takes as its mask, for states ``h`` (B, S, D)."""
    if uses_flex(layout, h, form):
        return flex_mask(layout, (h.shape[0], h.shape[1]), h.device)
    return for_device(attention_mask(layout), h)


def for_device(mask: torch.Tensor | None, h: torch.Tensor) -> torch.Tensor | None:
    """Return a mask on the device of the states, in the form that it adds fastest; made once, it serves every layer."""
    if mask is None:
        return None
    return as_bias(mask, h.dtype) if h.device.type == "cpu" else mask.to(h.device)


def one_document(segments: torch.Tensor) -> bool:
    """Return whether every row is known to be a single segment; asked on the CPU only, where looking is free.

    Never asked while compiling, where looking at values would break the graph.
    """
    if segments.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return bool((segments == segments[:, :1]).all())
