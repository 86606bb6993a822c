"""The Transformer: pre-norm blocks of attention and feed-forward over a residual stream in ``compute_dtype``.

    h ← embed(x_t);   h ← h + attention(norm h);   h ← h + feedforward(norm h);   logits = head(norm h)

It returns states, not logits: the objective gathers the few rows it scores before it touches the head, and the last
feed-forward runs on those rows alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from diffusionlm.device import arithmetic_device
from diffusionlm.model.attention import Attention
from diffusionlm.model.cache import Exchange, KVCache, NewColumns
from diffusionlm.model.feedforward import FeedForward
from diffusionlm.model.linear import Linear
from diffusionlm.model.norm import RMSNorm
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.pattern import Form, attention_pattern, cached_mask, for_device
from diffusionlm.model.rope import rope_tables
from diffusionlm.model.time import Modulation, TimeEmbedding
from diffusionlm.process.base import Tokens
from diffusionlm.process.head import Head
from diffusionlm.process.layout import Layout
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.rng import seed_torch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Role = Literal["hidden", "embedding", "head", "vector"]
Rope = tuple[torch.Tensor, torch.Tensor]


class Block(nn.Module):
    """One pre-norm block."""

    def __init__(self, params: TransformerParams) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(params.width, params.norm_eps)
        self.attention = Attention(params)
        self.feedforward_norm = RMSNorm(params.width, params.norm_eps)
        self.feedforward = FeedForward(params)
        self.attention_time = Modulation(params.width) if params.time_conditioning else None
        self.feedforward_time = Modulation(params.width) if params.time_conditioning else None
        self.dropout = params.dropout

    def forward(
        self,
        h: torch.Tensor,
        condition: torch.Tensor | None,
        rope: Rope,
        mask: torch.Tensor | BlockMask | None,
        causal: bool,
        rows: torch.Tensor | None,
        exchange: Exchange | None = None,
    ) -> torch.Tensor:
        """Return (B, T, D), or (N, D) when ``rows`` (flat indices) asks for some positions only."""
        x = self.attention_norm(h)
        if self.attention_time is not None and condition is not None:
            x = self.attention_time(x, condition)
        h = h + self._drop(self.attention(x, rope, mask, causal, exchange))
        if rows is not None:
            h = h.flatten(0, 1).index_select(0, rows)
            condition = None if condition is None else condition.flatten(0, 1).index_select(0, rows)
        x = self.feedforward_norm(h)
        if self.feedforward_time is not None and condition is not None:
            x = self.feedforward_time(x, condition)
        return h + self._drop(self.feedforward(x))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, self.dropout, self.training) if self.dropout else x


class Transformer(nn.Module):
    """A Transformer over ``vocabulary.rows`` embeddings that predicts ``vocabulary.size`` tokens.

    Attributes:
        compute_dtype: dtype of the residual stream and of every matmul; parameters stay in their own (float32).
        kind: Which predictive the logits are; decided by the objective that trains it, and kept in its checkpoint.
        attention: How the attention pattern is evaluated; ``auto`` is the one rule, the others are for comparison.
        gradient_checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(self, params: TransformerParams, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.params, self.vocabulary = params, vocabulary
        self.compute_dtype: torch.dtype = torch.float32
        self.kind: Head = "posterior"
        self.attention: Form = "auto"
        self.gradient_checkpointing = False
        self.embedding = nn.Parameter(torch.empty(vocabulary.rows, params.width))
        self.time = TimeEmbedding() if params.time_conditioning else None
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.layers))
        self.norm = RMSNorm(params.width, params.norm_eps)
        self.head = None if params.tied else Linear(params.width, vocabulary.size)

    @property
    def head_weight(self) -> torch.Tensor:
        """(K, D): the head's rows of data tokens. The mask token and unused rows have none, so they get no mass."""
        return self.embedding[: self.vocabulary.size] if self.head is None else self.head.weight

    def forward(
        self,
        x_t: Tokens,
        t: torch.Tensor | None,
        layout: Layout,
        rows: torch.Tensor | None = None,
        new: NewColumns | None = None,
    ) -> torch.Tensor:
        """Return the final normalised states that predict tokens.

        Args:
            x_t: (B, T) int64 noisy tokens, or a state that embeds itself. This and the other arguments are on the
                model's device, or on the CPU beside one without float64.
            t: (B, T) times; ignored (and may be None) unless the model is conditioned on time.
            layout: Segments, positions and direction of attention.
            rows: (N,) int64 flat indices into B·T of the positions to predict; None = all.
            new: The T given columns are these of longer canvases, whose layout ``layout`` is; the other columns are
                read from its cache.

        Returns:
            (N, D) or (B, T, D) in ``compute_dtype``. With ``shift`` = 1 the state for token i is read at i − 1.
        """
        h = self._embed(x_t).to(self.compute_dtype)
        layout = layout.with_causal(layout.causal or self.params.causal)
        rope, mask = self._pattern(h, layout, new)
        condition = self._condition(t, h.dtype)
        if rows is not None:
            rows = (rows - self.params.shift).to(h.device)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            exchange = None if new is None else new.layer(index)
            arguments = (h, condition, rope, mask, layout.causal, rows if index == last else None, exchange)
            if self.gradient_checkpointing and self.training:
                h = checkpoint(block, *arguments, use_reentrant=False)
            else:
                h = block(*arguments)
        h = self.norm(h)
        return h.roll(self.params.shift, dims=1) if rows is None and self.params.shift else h

    def _embed(self, x_t: Tokens) -> torch.Tensor:
        """Return (B, T, D) input states. A state that embeds itself does so where it is."""
        table = self.embedding
        if isinstance(x_t, torch.Tensor):
            return nn.functional.embedding(x_t.to(table.device), table)
        return x_t.embed(table.to(arithmetic_device(table.device))).to(table.device)

    def _pattern(
        self, h: torch.Tensor, layout: Layout, new: NewColumns | None
    ) -> tuple[Rope, torch.Tensor | BlockMask | None]:
        """Return the rotary tables of the columns, and what they see."""
        if new is None:
            positions = layout.positions
            if positions is None:
                positions = torch.arange(h.shape[1], device=arithmetic_device(h.device))[None]
            mask = attention_pattern(layout, h, self.attention)
        else:
            positions = new.columns if layout.positions is None else layout.positions.gather(1, new.columns)
            mask = for_device(cached_mask(layout, new.columns, new.readable()), h)
        cos, sin = rope_tables(positions, self.params.resolved_head_width, self.params.rope_theta, h.dtype)
        return (cos.to(h.device), sin.to(h.device)), mask

    def new_cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache for ``batch`` canvases of ``length`` columns."""
        shape = (batch, self.params.resolved_kv_heads, length, self.params.resolved_head_width)
        return KVCache(len(self.blocks), shape, self.compute_dtype, self.embedding.device)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (…, K) logits of (…, D) states, in the dtype of the states."""
        return nn.functional.linear(hidden, self.head_weight.to(hidden.dtype))

    def parameter_roles(self) -> dict[str, Role]:
        """Return, for every parameter name, what it is to an optimizer."""
        roles: dict[str, Role] = {}
        for name, parameter in self.named_parameters():
            if name == "embedding":
                roles[name] = "embedding"
            elif name == "head.weight":
                roles[name] = "head"
            else:
                roles[name] = "hidden" if parameter.dim() == 2 else "vector"
        return roles

    def _condition(self, t: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
        if self.time is None:
            return None
        if t is None:
            raise ValueError("this model is conditioned on time, but no t was given")
        return self.time(t, dtype)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw every weight: each linear map keeps the variance of its input, each residual branch adds 1/(2·layers).

        The head starts small (variance 1/D² per weight), so that the first loss is ln K up to a few thousandths.
        """
        seed_torch(seed, "init")
        residual = 1.0 / math.sqrt(2.0 * self.params.layers)
        for name, module in self.named_modules():
            if not isinstance(module, Linear):
                continue
            fan_in = module.weight.shape[1]
            std = 1.0 / math.sqrt(fan_in)
            if name.endswith(("attention.o", "feedforward.down")):
                std *= residual
            elif name.endswith("time.map"):
                module.weight.zero_()
                continue
            elif name == "head":
                std = 1.0 / fan_in
            _truncated_normal_(module.weight, std)
        # A tied embedding doubles as the head, where unit variance would give logits of variance D.
        nn.init.normal_(self.embedding, std=1.0 / math.sqrt(self.params.width) if self.params.tied else 1.0)


def _truncated_normal_(weight: torch.Tensor, std: float) -> None:
    """Draw from a normal law within three deviations, by inverting its distribution function.

    torch's own ``trunc_normal_`` draws other numbers from version to version; a run of one seed should not.
    """
    bound = math.erf(3.0 / math.sqrt(2.0))
    weight.uniform_(-bound, bound).erfinv_().mul_(std * math.sqrt(2.0)).clamp_(-3.0 * std, 3.0 * std)


def build_model(params: TransformerParams, vocabulary: Vocabulary, seed: int) -> Transformer:
    """Return an initialised Transformer on the CPU in float32, a function of its arguments alone."""
    model = Transformer(params, vocabulary)
    model.initialise(seed)
    return model
