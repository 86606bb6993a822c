"""Training objectives. A new one is a file here and an import line below."""

from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.objective.ce import CE
from diffusionlm.objective.ce_entropy import CEEntropy
from diffusionlm.objective.llada import LLaDA
from diffusionlm.objective.nelbo import NELBO
from diffusionlm.process.base import Process
from diffusionlm.process.head import Head
from diffusionlm.registry import Registry, params_name

OBJECTIVES: Registry[Objective] = Registry("objective", Objective, globals())


def network_head(params: ObjectiveParams, process: Process) -> Head:
    """Return what a network that was trained with an objective predicts."""
    return params.head or process.network_head or OBJECTIVES[params_name(type(params))].head


__all__ = ["CE", "NELBO", "CEEntropy", "OBJECTIVES", "LLaDA", "Objective", "network_head"]
