"""Named tensors in safetensors files: stable names, tied tensors once, nothing pickled.

A tensor that several names share (a tied head) is stored under the first of them; the others go into the file's
metadata as ``{"aliases": {"other": "first"}}`` and come back on load as the same tensor. Names lose what
``torch.compile`` and data-parallel wrappers add, so that a file written by any of them opens in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from diffusionlm.errors import CheckpointError
from diffusionlm.lazy import torch
from diffusionlm.optim.base import canonical_name


def stable_name(name: str) -> str:
    """Return a parameter's name without what wrappers add: a leading ``module.`` and ``_orig_mod.`` anywhere.

    Example: ``module._orig_mod.layers.0._orig_mod.up.weight`` → ``layers.0.up.weight``.
    """
    name = canonical_name(name)
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write named tensors of any device and dtype to a safetensors file.

    Args:
        path: The file.
        tensors: Tensors by name; two names of one tensor (same memory, shape and strides) are stored once.
    """
    from safetensors.torch import save_file

    stored: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for raw, tensor in tensors.items():
        name = stable_name(raw)
        assert name not in {**stored, **aliases}, f"two tensors are called {name!r}"
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        value = tensor.detach().cpu().contiguous()
        # A view into a larger buffer shares its memory with other tensors, which the format refuses.
        stored[name] = value.clone() if value.untyped_storage().nbytes() != value.nbytes else value
    save_file(stored, str(path), metadata={"aliases": json.dumps(aliases, sort_keys=True)})


def read_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file on to ``device``; the names of a tied tensor share one tensor.

    Raises:
        CheckpointError: The file is not a safetensors file or names a tensor that it lacks.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            metadata = file.metadata() or {}
        aliases = json.loads(metadata["aliases"]) if "aliases" in metadata else {}
        return {**tensors, **{name: tensors[target] for name, target in aliases.items()}}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tensor file of a checkpoint ({error}); use another one") from error
