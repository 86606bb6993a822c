"""Training objectives. A new one is a file here and an import line below."""

from diffusionlm.objective.ar import AR
from diffusionlm.objective.base import Objective, ObjectiveParams
from diffusionlm.objective.cart import CART
from diffusionlm.objective.ce import CE
from diffusionlm.objective.ce_all import CEAll
from diffusionlm.objective.ce_entropy import CEEntropy
from diffusionlm.objective.gkl import GKL
from diffusionlm.objective.joint import Joint
from diffusionlm.objective.llada import LLaDA
from diffusionlm.objective.nelbo import NELBO
from diffusionlm.process.base import Process
from diffusionlm.process.head import Head
from diffusionlm.registry import Registry, params_name

OBJECTIVES: Registry[Objective] = Registry("objective", Objective, globals())


def network_head(params: ObjectiveParams, process: Process) -> Head:
    """Return what a network that was trained with an objective predicts."""
    minimiser = OBJECTIVES[params_name(type(params))].minimiser(type(process))
    return params.head or process.network_head or minimiser


__all__ = [
    "AR",
    "CART",
    "CE",
    "GKL",
    "NELBO",
    "OBJECTIVES",
    "CEAll",
    "CEEntropy",
    "Joint",
    "LLaDA",
    "Objective",
    "network_head",
]
