"""Generation: continuing prompts and filling holes, one loop for both."""

from diffusionlm.generation.generate import Generation, generate
from diffusionlm.generation.loop import Frame, Observer, Sampled, sample
from diffusionlm.generation.params import GenerationParams, InfillingParams, SamplingParams

__all__ = [
    "Frame",
    "Generation",
    "GenerationParams",
    "InfillingParams",
    "Observer",
    "Sampled",
    "SamplingParams",
    "generate",
    "sample",
]
