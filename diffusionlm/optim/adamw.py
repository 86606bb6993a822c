"""AdamW: Adam with decoupled weight decay, on lists of tensors.

    m ← m + (1 - β₁)(g - m)            v ← β₂ v + (1 - β₂) g²
    θ ← (1 - lr·λ) θ - lr · (m / (1 - β₁ᵏ)) / (√(v / (1 - β₂ᵏ)) + ε)        at the k-th step, k = 1, 2, …

Reference: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101, algorithm 2,
with the schedule's multiplier inside lr, as in ``torch.optim.AdamW``, whose results it equals.
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.optim.base import LARGEST_RATE, Optimizer, ParameterGroup
from diffusionlm.optim.width import width_scale
from diffusionlm.params import Strict

Beta = Annotated[float, Field(ge=0, lt=1)]
if TYPE_CHECKING:
    Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


class AdamWParams(Strict):
    """AdamW for every parameter, with an optional learning rate of its own for each role."""

    name: Literal["adamw"] = "adamw"
    lr: float = Field(default=1e-3, ge=0, le=LARGEST_RATE)
    """Learning rate at the top of the schedule."""
    embedding_lr: float | None = Field(default=None, ge=0, le=LARGEST_RATE)
    """Learning rate of token embeddings; lr if not set."""
    head_lr: float | None = Field(default=None, ge=0, le=LARGEST_RATE)
    """Learning rate of the output head; lr if not set."""
    vector_lr: float | None = Field(default=None, ge=0, le=LARGEST_RATE)
    """Learning rate of norm gains and biases; lr if not set."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay rates of the two moment averages."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.1, ge=0, le=LARGEST_RATE)
    """Decoupled decay of hidden and head matrices, times the learning rate; embeddings and vectors have none."""
    base_width: int | None = Field(default=None, ge=1)
    """Width that the rates are for: hidden and head matrices learn at lr·base_width/fan-in (µP, arXiv:2203.03466)."""


def adamw_update(
    parameters: Tensors,
    gradients: Tensors,
    m: Tensors,
    v: Tensors,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    k: int,
) -> None:
    """Make the ``k``-th AdamW update of a list of tensors in place (arXiv:1711.05101, algorithm 2).

    Args:
        parameters, gradients, m, v: Lists of equal length of tensors of equal shapes and one dtype.
        lr: Learning rate of this step.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ.
        k: Which step this is, counted from 1.
    """
    beta1, beta2 = betas
    if weight_decay != 0:
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
    torch._foreach_lerp_(m, gradients, 1 - beta1)
    torch._foreach_mul_(v, beta2)
    torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)
    denominator = torch._foreach_sqrt(v)
    torch._foreach_div_(denominator, (1 - beta2**k) ** 0.5)
    torch._foreach_add_(denominator, eps)
    torch._foreach_addcdiv_(parameters, m, denominator, -lr / (1 - beta1**k))


class AdamW(Optimizer):
    """AdamW over all parameters; state slots ``m`` and ``v`` (arXiv:1711.05101)."""

    Params = AdamWParams

    def __init__(
        self, params: AdamWParams, named_parameters: Mapping[str, torch.nn.Parameter], roles: Mapping[str, str]
    ) -> None:
        rates = {
            "hidden": params.lr,
            "embedding": params.lr if params.embedding_lr is None else params.embedding_lr,
            "head": params.lr if params.head_lr is None else params.head_lr,
            "vector": params.lr if params.vector_lr is None else params.vector_lr,
        }
        scale = width_scale(params.base_width, ("hidden", "head"))
        super().__init__(named_parameters, roles, rates, params.weight_decay, scale)
        self.params = params
        named = {n: p for group in self.groups for n, p in zip(group.names, group.parameters, strict=True)}
        self.state = {slot: {name: torch.zeros_like(p) for name, p in named.items()} for slot in ("m", "v")}

    def _update(self, group: ParameterGroup, gradients: list[torch.Tensor], lr: float) -> None:
        adamw_update(
            group.parameters,
            gradients,
            [self.state["m"][name] for name in group.names],
            [self.state["v"][name] for name in group.names],
            lr=lr,
            betas=self.params.betas,
            eps=self.params.eps,
            weight_decay=group.weight_decay,
            k=self.steps,
        )
