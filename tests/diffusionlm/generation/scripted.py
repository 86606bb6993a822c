"""Stand-ins for the tests of generation: a network that knows the text it should write, and a small real one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.process import Head, Layout, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams


def mask_process(vocabulary: int) -> MaskProcess:
    return MaskProcess(MaskParams(), Vocabulary.after(vocabulary))


class ScriptedNetwork(nn.Module):
    """Writes ``target[i]`` at position i of every canvas, with certainty; counts its calls and their rows."""

    def __init__(self, target: Sequence[int], vocabulary: int, context_length: int = 64, shift: int = 0) -> None:
        super().__init__()
        self.params = TransformerParams.model_validate({"context_length": context_length, "shift": shift})
        self.weight = nn.Parameter(torch.zeros(1))
        self.target, self.size = list(target), vocabulary
        self.batches: list[int] = []
        self.kind: Head = "posterior"

    def forward(
        self, x_t: torch.Tensor, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert rows is not None
        self.batches.append(len(x_t))
        target = torch.tensor(self.target)[rows % x_t.shape[1]]
        return torch.full((len(rows), self.size), -1e4).scatter(1, target[:, None], 0.0)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def small_model(vocabulary: int, context_length: int = 32, seed: int = 0) -> Transformer:
    """Return a float64 Transformer whose predictions are far from uniform."""
    params = TransformerParams(layers=2, width=32, heads=4, context_length=context_length)
    model = build_model(params, Vocabulary.after(vocabulary), seed)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        model.head_weight.copy_(torch.randn(model.head_weight.shape, generator=generator) * 0.4)
    model = model.double()
    model.compute_dtype = torch.float64
    return model
