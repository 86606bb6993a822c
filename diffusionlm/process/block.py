"""Block diffusion: the mask process inside each block of a document, given the clean blocks before it.

    NELBO(x) = Σ_b E_{t_b ~ U(0,1)} c(t_b) Σ_{i in b : z_i = m} −ln p_i(x_i | z^b, x^{<b})

Blocks are runs of ``block_length`` positions of a document window, each with a time of its own. One pass over the 2T
columns [z ; x] gives all of them at once: a noisy column sees its own block's noisy columns and the clean ones of
earlier blocks, a clean one sees the clean ones of its own and earlier blocks, and nothing clean sees anything noisy.
With blocks of one token the bound is the autoregressive −ln p(x), with one block it is the mask bound. In sampling, the
blocks before the current one are finished text, whose keys and values are kept: exact, since they see nothing later.
Arriola et al. 2025 (BD3-LM), https://arxiv.org/abs/2503.09573. docs/MATH.md, "Blocks and autoregression".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.process.base import Corrupted, Tokens, View
from diffusionlm.process.layout import Layout
from diffusionlm.process.mask import MaskParams, MaskProcess


class BlockParams(MaskParams):
    """Block diffusion: masks inside each block, clean text before it (BD3-LM)."""

    name: Literal["block"] = "block"
    block_length: int = Field(default=16, ge=1)
    """Tokens per block: 1 is autoregressive, the context length is the mask process."""


class BlockProcess(MaskProcess):
    """The mask process block by block. BD3-LM, https://arxiv.org/abs/2503.09573."""

    Params = BlockParams
    params: BlockParams

    def blocks(self, positions: torch.Tensor) -> torch.Tensor:
        return positions // self.params.block_length

    def view(self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor) -> View:
        assert isinstance(corrupted.x_t, torch.Tensor), "states of the mask process are ids"
        blocks = self.blocks(positions)
        clean = torch.zeros_like(blocks, dtype=torch.bool)
        layout = Layout(
            segments=torch.cat((segments, segments), 1),
            positions=torch.cat((positions, positions), 1),
            blocks=torch.cat((blocks, blocks), 1),
            clean=torch.cat((clean, ~clean), 1),
        )
        t = torch.cat((corrupted.t, torch.ones_like(corrupted.t)), 1)
        return View(torch.cat((corrupted.x_t, x_1), 1), t, layout)

    def canvas_view(self, z: Tokens, t: torch.Tensor, layout: Layout) -> View:
        return View(z, t, layout.with_blocks(self.blocks(layout.positions_of(t))))

    def settled(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        # A block that has ended is told t = 1 (see Blocks.model_time); before, any of its tokens may still change.
        return t >= 1.0
