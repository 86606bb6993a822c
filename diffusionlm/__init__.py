"""FlowLM's library: language models that generate by discrete flow matching or diffusion.

Layers, strictly downward: workflows → training, generation, evaluation → objective, sampling, checkpoint, oracle →
data, model → tokenizer, process, kernels, optim, dist → errors, params, registry, messages, rng, runlog, lazy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from diffusionlm.workflows.language_model import LanguageModel


def load(
    name: str,
    *,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["fp32", "bf16", "fp64"] = "fp32",
    weights: Literal["ema", "model"] | None = None,
    read_as: str | None = None,
) -> LanguageModel:
    """Open a trained model.

    Args:
        name: A run folder (its newest good checkpoint), ``run@best``, or a checkpoint folder.
        device: Where it computes.
        precision: Arithmetic of the network; in fp64 a sample is the same in any batch.
        weights: The averaged weights or the last ones; None = averaged where there are any.
        read_as: Another process that it was trained on and is read as: "ar" for objective "joint".

    Returns:
        An object with ``generate``, ``infill`` and ``score``.

    Raises:
        CheckpointError: There is no good checkpoint.
        ConfigError: A value is not allowed, or the device is not there.
        PairingError: It was not trained on the process that it shall be read as.
    """
    from diffusionlm.messages import validated
    from diffusionlm.workflows.language_model import LanguageModel
    from diffusionlm.workflows.opened import open_checkpoint
    from diffusionlm.workflows.use_params import CheckpointParams

    values = {"checkpoint": str(name), "device": device, "precision": precision, "weights": weights, "read_as": read_as}
    return LanguageModel(open_checkpoint(validated(CheckpointParams, values)))


__all__ = ["load"]
