"""A small set of parameters with every role, in float32 and with reproducible gradients."""

from __future__ import annotations

import pytest
import torch

ROLES = {
    "embed.weight": "embedding",
    "layers.0.wide": "hidden",
    "layers.1.wide": "hidden",
    "layers.0.tall": "hidden",
    "layers.1.tall": "hidden",
    "layers.0.square": "hidden",
    "norm.gain": "vector",
    "head.weight": "head",
}
SHAPES = {
    "embed.weight": (11, 8),
    "layers.0.wide": (8, 24),
    "layers.1.wide": (8, 24),
    "layers.0.tall": (24, 8),
    "layers.1.tall": (24, 8),
    "layers.0.square": (8, 8),
    "norm.gain": (8,),
    "head.weight": (11, 8),
}


def make_parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for name, shape in SHAPES.items()
    }


def fill_gradients(parameters: dict[str, torch.nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for parameter in parameters.values():
        gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = gradient.to(parameter.dtype)


@pytest.fixture
def parameters() -> dict[str, torch.nn.Parameter]:
    return make_parameters()


@pytest.fixture
def roles() -> dict[str, str]:
    return dict(ROLES)


@pytest.fixture
def make() -> object:
    """``make(seed, dtype)`` returns fresh parameters."""
    return make_parameters


@pytest.fixture
def fill() -> object:
    """``fill(parameters, step)`` gives every parameter the gradient of that step."""
    return fill_gradients
