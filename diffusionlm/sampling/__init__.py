"""Samplers: how a noisy canvas becomes text. A new one is a file here and an import line below."""

from diffusionlm.registry import Registry
from diffusionlm.sampling.ancestral import Ancestral
from diffusionlm.sampling.base import Plan, Predictor, Sampler, State, Step, TraceStep
from diffusionlm.sampling.confidence import Confidence
from diffusionlm.sampling.entropy_bound import EntropyBound
from diffusionlm.sampling.euler import Euler
from diffusionlm.sampling.factor import Factor
from diffusionlm.sampling.filters import Filters
from diffusionlm.sampling.first_hitting import FirstHitting
from diffusionlm.sampling.plug_in import PlugIn
from diffusionlm.sampling.remdm import ReMDM
from diffusionlm.sampling.threshold import Threshold

SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, globals())

__all__ = [
    "SAMPLERS",
    "Ancestral",
    "Confidence",
    "EntropyBound",
    "Euler",
    "Factor",
    "Filters",
    "FirstHitting",
    "Plan",
    "PlugIn",
    "Predictor",
    "ReMDM",
    "Sampler",
    "State",
    "Step",
    "Threshold",
    "TraceStep",
]
