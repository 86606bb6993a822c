"""Optimizers, learning-rate schedules, gradient clipping and the average of the weights.

A new optimizer is one file with a ``Params`` and an import line here; see ``base.Optimizer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffusionlm.optim.adamw import AdamW, AdamWParams
from diffusionlm.optim.base import DECAYED_ROLES, ROLES, Optimizer, ParameterGroup, canonical_name, canonical_names
from diffusionlm.optim.clip import GradientNorm, clip_gradients
from diffusionlm.optim.ema import EMA, EMAParams
from diffusionlm.optim.muon import Muon, MuonParams
from diffusionlm.optim.schedule import (
    WSD,
    Constant,
    ConstantParams,
    Cosine,
    CosineParams,
    LRSchedule,
    WSDParams,
)
from diffusionlm.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from diffusionlm.params import Strict

OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", Optimizer, globals())
LR_SCHEDULES: Registry[LRSchedule] = Registry("learning-rate schedule", LRSchedule, globals())


def build_optimizer(
    params: Strict, named_parameters: Mapping[str, nn.Parameter], roles: Mapping[str, str]
) -> Optimizer:
    """Return the optimizer that ``params`` configures, over every given parameter.

    Args:
        params: Parameters of one of ``OPTIMIZERS``.
        named_parameters: What to train, on its final device. Names may carry compile wrappers.
        roles: Name to role, one of ``ROLES``; a superset of the names is fine.

    Raises:
        ConfigError: A parameter has no (known) role, is frozen, is given twice, or is not in float32 or float64.
    """
    return OPTIMIZERS.build(params, named_parameters, roles)


def build_lr_schedule(params: Strict) -> LRSchedule:
    """Return the schedule that ``params`` configures; its ``multiplier(step, total)`` is a pure function."""
    return LR_SCHEDULES.build(params)


__all__ = [
    "DECAYED_ROLES",
    "EMA",
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "ROLES",
    "WSD",
    "AdamW",
    "AdamWParams",
    "Constant",
    "ConstantParams",
    "Cosine",
    "CosineParams",
    "EMAParams",
    "GradientNorm",
    "LRSchedule",
    "Muon",
    "MuonParams",
    "Optimizer",
    "ParameterGroup",
    "WSDParams",
    "build_lr_schedule",
    "build_optimizer",
    "canonical_name",
    "canonical_names",
    "clip_gradients",
]
