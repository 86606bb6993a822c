"""Training objectives. A new one is a file here and an import line below."""

from diffusionlm.objective.base import Objective
from diffusionlm.objective.ce import CE
from diffusionlm.objective.llada import LLaDA
from diffusionlm.objective.nelbo import NELBO
from diffusionlm.registry import Registry

OBJECTIVES: Registry[Objective] = Registry("objective", Objective, globals())

__all__ = ["CE", "NELBO", "OBJECTIVES", "LLaDA", "Objective"]
