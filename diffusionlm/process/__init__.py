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
from diffusionlm.process.simplex.base import FlowProcess, SimplexProcess
from diffusionlm.process.simplex.dirichlet import DirichletProcess
from diffusionlm.process.simplex.logit import LogitProcess
from diffusionlm.process.simplex.logit_entropy import LogitEntropyProcess
from diffusionlm.process.simplex.logit_mask import LogitMaskProcess
from diffusionlm.process.simplex.logit_updated import LogitUpdatedProcess
from diffusionlm.process.simplex.one_shot import OneShotProcess
from diffusionlm.process.simplex.sphere import SphereProcess
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
    "DirichletProcess",
    "DiscreteProcess",
    "FlowProcess",
    "GIDDProcess",
    "Head",
    "KeepProcess",
    "Layout",
    "LogitEntropyProcess",
    "LogitMaskProcess",
    "LogitProcess",
    "LogitUpdatedProcess",
    "MaskProcess",
    "MixturePath",
    "MixtureProcess",
    "Noise",
    "OneShotProcess",
    "Process",
    "SimplexProcess",
    "SphereProcess",
    "TimesParams",
    "UniformProcess",
    "Vocabulary",
    "draw_times",
]
