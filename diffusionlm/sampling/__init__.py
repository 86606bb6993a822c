"""Samplers: how a noisy canvas becomes text. A new one is a file here and an import line below."""

from diffusionlm.registry import Registry
from diffusionlm.sampling.ancestral import Ancestral
from diffusionlm.sampling.ar import LeftToRight
from diffusionlm.sampling.base import Plan, Predictor, Sampler, State, Step, TraceStep
from diffusionlm.sampling.confidence import Confidence
from diffusionlm.sampling.filters import Filters

SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, globals())

__all__ = [
    "SAMPLERS",
    "Ancestral",
    "Confidence",
    "Filters",
    "LeftToRight",
    "Plan",
    "Predictor",
    "Sampler",
    "State",
    "Step",
    "TraceStep",
]
