"""Generation: continuing prompts and filling holes, one loop for both."""

from diffusionlm.generation.canvas import Hole
from diffusionlm.generation.generate import Generation, generate
from diffusionlm.generation.infill import Draft, Infilled, infill, parse_holes
from diffusionlm.generation.loop import Frame, Observer, Sampled, sample
from diffusionlm.generation.params import GenerationParams, InfillingParams, SamplingParams
from diffusionlm.generation.self_correction import SelfCorrectionParams
from diffusionlm.generation.trace import Change, Trace

__all__ = [
    "Change",
    "Draft",
    "Frame",
    "Generation",
    "GenerationParams",
    "Hole",
    "Infilled",
    "InfillingParams",
    "Observer",
    "Sampled",
    "SamplingParams",
    "SelfCorrectionParams",
    "Trace",
    "generate",
    "infill",
    "parse_holes",
    "sample",
]
