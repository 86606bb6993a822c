"""Samplers: how a noisy canvas becomes text. A new one is a file here and an import line below."""

from diffusionlm.registry import Registry
from diffusionlm.sampling.ancestral import Ancestral
from diffusionlm.sampling.base import Plan, Predictor, Sampler, State, Step, TraceStep
from diffusionlm.sampling.confidence import Confidence
from diffusionlm.sampling.filters import Filters
from diffusionlm.sampling.simplex import Basic, Hybrid, OneShot, Sampling

SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, globals())

__all__ = [
    "SAMPLERS",
    "Ancestral",
    "Basic",
    "Confidence",
    "Filters",
    "Hybrid",
    "OneShot",
    "Plan",
    "Predictor",
    "Sampler",
    "Sampling",
    "State",
    "Step",
    "TraceStep",
]
