"""Training objectives. A new one is a file here and an import line below."""

from diffusionlm.errors import PairingError
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
from diffusionlm.process import PROCESSES
from diffusionlm.process.base import Process
from diffusionlm.process.head import Head
from diffusionlm.registry import Registry, params_name

OBJECTIVES: Registry[Objective] = Registry("objective", Objective, globals())


def network_head(params: ObjectiveParams | None, process: Process) -> Head:
    """Return what a network that was trained with an objective predicts; None is the process's own, as it comes."""
    name = process.objective if params is None else params_name(type(params))
    chosen = None if params is None else params.head
    return chosen or process.network_head or OBJECTIVES[name].minimiser(type(process))


def trained_process(params: ObjectiveParams, process: Process, name: str) -> Process:
    """Return the process of a name over the same vocabulary, if an objective trains a network on it.

    Raises:
        PairingError: In one line that lists what the network was trained on.
    """
    own, kind = params_name(type(process.params)), params_name(type(params))
    also = OBJECTIVES[kind].also_trains(params)
    if name == own:
        return process
    if name not in also:
        raise PairingError(
            f"read_as = {name!r}: objective {kind!r} trained this network on process {' and '.join((own, *also))}, "
            f"not on {name!r}; leave read_as unset"
        )
    return PROCESSES.build(PROCESSES[name].Params(), process.vocabulary)


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
    "trained_process",
]
