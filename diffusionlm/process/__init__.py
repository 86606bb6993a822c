"""Noising processes, from noise (t = 0) to data (t = 1). A new one is a file here and an import line below."""

from diffusionlm.process.ar import ArProcess
from diffusionlm.process.base import Corrupted, Process
from diffusionlm.process.block import BlockProcess
from diffusionlm.process.discrete import DiscreteProcess
from diffusionlm.process.gidd import GIDDProcess
from diffusionlm.process.head import Head
from diffusionlm.process.keep import KeepProcess
from diffusionlm.process.layout import Layout
from diffusionlm.process.mask import MaskProcess
from diffusionlm.process.mixture import MixtureProcess
from diffusionlm.process.mixture_path import MixturePath
from diffusionlm.process.noise import Noise
from diffusionlm.process.registries import SCHEDULES
from diffusionlm.process.times import TimesParams, draw_times
from diffusionlm.process.uniform import UniformProcess
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.registry import Registry

PROCESSES: Registry[Process] = Registry("process", Process, globals())

__all__ = [
    "PROCESSES",
    "SCHEDULES",
    "ArProcess",
    "BlockProcess",
    "Corrupted",
    "DiscreteProcess",
    "GIDDProcess",
    "Head",
    "KeepProcess",
    "Layout",
    "MaskProcess",
    "MixturePath",
    "MixtureProcess",
    "Noise",
    "Process",
    "TimesParams",
    "UniformProcess",
    "Vocabulary",
    "draw_times",
]
