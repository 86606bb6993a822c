"""Generation: continuing prompts and filling holes, one loop for both."""

from diffusionlm.generation.canvas import Hole
from diffusionlm.generation.generate import Generation, generate
from diffusionlm.generation.infill import Infilled, infill, parse_holes
from diffusionlm.generation.loop import Frame, Observer, Sampled, sample
from diffusionlm.generation.params import GenerationParams, InfillingParams, SamplingParams

__all__ = [
    "Frame",
    "Generation",
    "GenerationParams",
    "Hole",
    "Infilled",
    "InfillingParams",
    "Observer",
    "Sampled",
    "SamplingParams",
    "generate",
    "infill",
    "parse_holes",
    "sample",
]
