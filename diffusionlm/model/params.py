"""The Transformer's parameters, apart from the network so that a configuration is read without importing torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from diffusionlm.params import Strict


class TransformerParams(Strict):
    """Shape of the network. The defaults are a small model that trains on a laptop."""

    layers: int = Field(default=6, ge=1)
    """Transformer blocks."""
    width: int = Field(default=256, ge=8)
    """Width of the residual stream."""
    heads: int = Field(default=4, ge=1)
    """Query heads."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Key and value heads (grouped-query attention); unset = as many as heads."""
    head_width: int | None = Field(default=None, ge=2)
    """Width of one head; unset = width / heads."""
    hidden: int | None = Field(default=None, ge=1)
    """Inner width of the feed-forward; unset = 8/3 (swiglu) or 4 (relu2) times width, to a multiple of 32."""
    activation: Literal["swiglu", "relu2"] = "swiglu"
    """Gated SiLU, or squared ReLU."""
    context_length: int = Field(default=256, ge=1)
    """Tokens in a training row, and the longest canvas of generation."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary position embedding."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, per head."""
    qkv_bias: bool = False
    """Biases on the query, key and value projections (Qwen2)."""
    tied: bool = False
    """The head shares the embedding's weights."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the output of attention and of the feed-forward, in training."""
    time_conditioning: bool = False
    """Tell the network t, by a modulation of the norms that starts at zero; training: unset = as the process needs."""
    causal: bool = False
    """Attend to earlier positions only."""
    shift: Literal[0, 1] = 0
    """1: the state at i − 1 predicts token i (models converted from autoregressive ones); needs a BOS."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of RMSNorm."""

    @model_validator(mode="after")
    def _consistent(self) -> TransformerParams:
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; change one or set head_width"
            )
        if self.heads % self.resolved_kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.resolved_head_width % 2:
            raise ValueError(f"head width {self.resolved_head_width} is odd; rotary embeddings need an even one")
        return self

    @property
    def resolved_kv_heads(self) -> int:
        """Key and value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def resolved_head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def resolved_hidden(self) -> int:
        """Inner width of the feed-forward."""
        if self.hidden is not None:
            return self.hidden
        exact = self.width * (8 / 3 if self.activation == "swiglu" else 4)
        return 32 * max(1, round(exact / 32))
