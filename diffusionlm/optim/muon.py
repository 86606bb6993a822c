"""Muon: momentum, orthogonalised by a Newton–Schulz iteration, for the hidden matrices.

    M ← M + (1 - β)(G - M)             U = G + β (M - G) with Nesterov, else M
    O ≈ (U Uᵀ)^(-1/2) U                W ← (1 - lr·λ) W - lr · √max(1, rows / columns) · O

O comes from five quintic steps X ← a X + (b A + c A²) X, A = X Xᵀ, from X = U / ‖U‖_F; the coefficients have the
steepest slope at zero, so the singular values end in about [0.7, 1.2] and not exactly at 1. Embeddings, the head and
vectors go to AdamW with learning rates of their own.

Reference: Keller Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/. Matrices of one shape are stacked and updated with batched products, so the
number of kernel launches does not grow with depth.
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.optim.adamw import Beta, adamw_update
from diffusionlm.optim.base import LARGEST_RATE, Optimizer, ParameterGroup
from diffusionlm.optim.width import width_scale
from diffusionlm.params import Strict

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
MAX_STACK = 2**26
"""Most elements in one stack of matrices, which bounds the step's temporary memory (a few times 256 MiB)."""


class MuonParams(Strict):
    """Muon for hidden matrices and AdamW for everything else."""

    name: Literal["muon"] = "muon"
    lr: float = Field(default=0.02, ge=0, le=LARGEST_RATE)
    """Learning rate of hidden matrices at the top of the schedule (spectral norm per step)."""
    embedding_lr: float = Field(default=3e-3, ge=0, le=LARGEST_RATE)
    """AdamW learning rate of token embeddings."""
    head_lr: float = Field(default=3e-3, ge=0, le=LARGEST_RATE)
    """AdamW learning rate of the output head."""
    vector_lr: float = Field(default=3e-3, ge=0, le=LARGEST_RATE)
    """AdamW learning rate of norm gains and biases."""
    momentum: Beta = 0.95
    """Decay rate of the momentum average of hidden matrices."""
    nesterov: bool = True
    """Look one momentum step ahead."""
    newton_schulz_steps: int = Field(default=5, ge=1)
    """Number of Newton-Schulz iterations."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the Newton-Schulz products; weights and momentum stay in float32."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """AdamW: decay rates of the two moment averages."""
    eps: float = Field(default=1e-10, gt=0)
    """AdamW: added to the root of the second moment."""
    weight_decay: float = Field(default=0.01, ge=0, le=LARGEST_RATE)
    """Decoupled decay of hidden and head matrices, times the learning rate; embeddings and vectors have none."""
    base_width: int | None = Field(default=None, ge=1)
    """Width that head_lr is for: it becomes head_lr·base_width/width; hidden matrices follow the spectral rule."""


def orthogonalise(u: torch.Tensor, steps: int, dtype: torch.dtype) -> torch.Tensor:
    """Return an approximate orthogonal factor of each matrix by a quintic Newton–Schulz iteration.

    Args:
        u: (N, rows, columns), N matrices.
        steps: Number of iterations; five leave singular values in about [0.7, 1.2].
        dtype: Number format of the products.

    Returns:
        (N, rows, columns) in ``dtype``: U S' Vᵀ where u = U S Vᵀ and S' ≈ 1. A zero matrix stays zero.
    """
    a, b, c = COEFFICIENTS
    tall = u.size(-2) > u.size(-1)
    # The Frobenius norm bounds the spectral norm, so that every singular value starts in [0, 1].
    x = (u / (u.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    if tall:  # the products are taken on the short side
        x = x.mT
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)  # (N, short, short)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


@dataclass(frozen=True)
class Stack:
    """Hidden parameters of one shape whose updates are computed together.

    Attributes:
        indices: Which parameters of the group, P of them.
        momentum: (P, …shape), float32 or float64; one contiguous tensor, of which the state holds one view a parameter.
    """

    indices: tuple[int, ...]
    momentum: torch.Tensor


class Muon(Optimizer):
    """Muon with AdamW for what is not a hidden matrix (https://kellerjordan.github.io/posts/muon/).

    State slots: ``momentum`` for hidden matrices, ``m`` and ``v`` for the rest. A hidden parameter with more than two
    dimensions is a batch of matrices over its last two.
    """

    Params = MuonParams

    def __init__(
        self, params: MuonParams, named_parameters: Mapping[str, torch.nn.Parameter], roles: Mapping[str, str]
    ) -> None:
        rates = {
            "hidden": params.lr,
            "embedding": params.embedding_lr,
            "head": params.head_lr,
            "vector": params.vector_lr,
        }
        super().__init__(named_parameters, roles, rates, params.weight_decay, width_scale(params.base_width, ("head",)))
        self.params = params
        self.dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
        self.state = {"momentum": {}, "m": {}, "v": {}}
        self.stacks: tuple[Stack, ...] = ()
        for group in self.groups:
            if group.role == "hidden":
                self.stacks = _stack_by_shape(group)
                for stack in self.stacks:
                    for row, index in enumerate(stack.indices):
                        self.state["momentum"][group.names[index]] = stack.momentum[row]
            else:
                for name, parameter in zip(group.names, group.parameters, strict=True):
                    self.state["m"][name] = torch.zeros_like(parameter)
                    self.state["v"][name] = torch.zeros_like(parameter)

    def _update(self, group: ParameterGroup, gradients: list[torch.Tensor], lr: float) -> None:
        if group.role == "hidden":
            for stack in self.stacks:
                self._update_stack(group, stack, gradients, lr)
            return
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

    def _update_stack(self, group: ParameterGroup, stack: Stack, gradients: list[torch.Tensor], lr: float) -> None:
        """Make the Muon update of the parameters of one stack in place."""
        parameters = [group.parameters[index] for index in stack.indices]
        update = torch.stack([gradients[index] for index in stack.indices])  # (P, …shape), a copy
        beta = self.params.momentum
        stack.momentum.lerp_(update, 1 - beta)
        # The gradients themselves stay untouched: norms are logged after the step as well.
        update = update.lerp_(stack.momentum, beta) if self.params.nesterov else stack.momentum
        rows, columns = update.shape[-2:]
        matrices = update.reshape(-1, rows, columns)
        update = orthogonalise(matrices, self.params.newton_schulz_steps, self.dtype).to(update.dtype).view_as(update)
        if group.weight_decay != 0:
            torch._foreach_mul_(parameters, 1 - lr * group.weight_decay)
        torch._foreach_add_(parameters, list(update.unbind()), alpha=-lr * self._spectral_norm(rows, columns))

    def _spectral_norm(self, rows: int, columns: int) -> float:
        """Return the spectral norm of an update at lr = 1; with a base width exactly √(fan-out/fan-in)."""
        ratio = rows / columns
        return (max(1.0, ratio) if self.params.base_width is None else ratio) ** 0.5


def _stack_by_shape(group: ParameterGroup) -> tuple[Stack, ...]:
    """Return stacks of the group's parameters by shape, dtype and device, none above ``MAX_STACK`` elements."""
    alike: dict[tuple, list[int]] = {}
    for index, parameter in enumerate(group.parameters):
        alike.setdefault((parameter.shape, parameter.dtype, parameter.device), []).append(index)
    stacks = []
    for (shape, dtype, device), indices in alike.items():
        at_once = max(1, MAX_STACK // shape.numel())
        for start in range(0, len(indices), at_once):
            chosen = tuple(indices[start : start + at_once])
            stacks.append(Stack(chosen, torch.zeros((len(chosen), *shape), dtype=dtype, device=device)))
    return tuple(stacks)
