"""Norms by layer, of activations, weights and gradients, and the one transfer that brings a step's numbers to the host.

Everything is summed where it lives; ``fetch`` moves all scalars of a logged step in one copy. With everything off
there are no hooks and no kernels. A layer is a block of the model ("layers.3"), or a module that is in no block
("embed").

Activations are root mean squares over all elements of a block's output, √(Σ x² / n); weights and gradients are L2
norms, √(Σ x²).
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffusionlm.device import WITHOUT_FLOAT64
from diffusionlm.errors import ConfigError
from diffusionlm.lazy import torch

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

_COMPILED = "_orig_mod."


def fetch(scalars: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return 0-dim tensors as Python numbers with a single transfer from each device.

    Args:
        scalars: Name to 0-dim tensor of any number type. float32 arrives exactly.
    """
    by_device: dict[torch.device, list[str]] = {}
    for name, scalar in scalars.items():
        by_device.setdefault(scalar.device, []).append(name)
    found: dict[str, float] = {}
    for device, names in by_device.items():
        wide = torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
        packed = torch.stack([scalars[name].detach().to(wide) for name in names])
        found.update(zip(names, packed.cpu().tolist(), strict=True))
    return {name: found[name] for name in scalars}


def layer_of(parameter_name: str) -> str:
    """Return the layer of a parameter: its name up to the first number, else without its last part.

    ``layers.3.attention.query.weight`` is in ``layers.3``, ``embed.weight`` in ``embed``.
    """
    parts = parameter_name.replace(_COMPILED, "").split(".")
    for place, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return ".".join(parts[:-1]) or parts[0]


def norms_by_layer(named: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the L2 norm of each layer's tensors as 0-dim tensors on their device, under ``prefix/layer``."""
    if not named:
        return {}
    layers: dict[str, list[torch.Tensor]] = {}
    for name, norm in zip(named, torch._foreach_norm(list(named.values())), strict=True):
        layers.setdefault(layer_of(name), []).append(norm)
    return {f"{prefix}/{layer}": torch.linalg.vector_norm(torch.stack(norms)) for layer, norms in layers.items()}


def weight_norms(named_parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return each layer's weight norm under ``weight_norm/layer``."""
    return norms_by_layer({name: parameter.detach() for name, parameter in named_parameters.items()}, "weight_norm")


def gradient_norms(named_parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return each layer's gradient norm under ``gradient_norm/layer``; parameters without a gradient are left out."""
    gradients = {name: parameter.grad for name, parameter in named_parameters.items()}
    return norms_by_layer({name: g for name, g in gradients.items() if g is not None}, "gradient_norm")


def blocks_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the model's layers: the members of its module lists, and its other top-level modules with parameters."""
    blocks: dict[str, torch.nn.Module] = {}
    for name, child in model.named_children():
        if isinstance(child, torch.nn.ModuleList):
            blocks |= {f"{name}.{number}": block for number, block in enumerate(child)}
        elif next(child.parameters(), None) is not None:
            blocks[name] = child
    return blocks


class ActivationNorms:
    """Root mean squares of the outputs of a model's layers, by forward hooks that exist only while it is attached.

    Args:
        modules: Name to module, usually ``blocks_of(model)``.
    """

    def __init__(self, modules: Mapping[str, torch.nn.Module]) -> None:
        self.modules = dict(modules)
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Watch the forwards from now on."""
        assert not self._handles, "already attached"
        self._sums, self._counts = {}, {}
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))

    def detach(self) -> dict[str, torch.Tensor]:
        """Remove the hooks; return what they saw under ``activation_rms/layer``, as 0-dim tensors.

        Layers that did not run are left out. Micro-batches since ``attach`` are taken together.

        Raises:
            ConfigError: No layer ran a forward that a hook could see, as under ``torch.compile``.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if not self._sums:
            raise ConfigError(
                "activation norms saw no layer run: they cannot be combined with torch.compile; switch one of them off"
            )
        return {f"activation_rms/{name}": (total / self._counts[name]).sqrt() for name, total in self._sums.items()}

    def _hook(self, name: str) -> Any:
        """Return the forward hook of one layer."""

        def add(module: torch.nn.Module, inputs: object, output: object) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if not isinstance(tensor, torch.Tensor):
                return
            square = tensor.detach().float().square().sum()
            self._sums[name] = self._sums[name] + square if name in self._sums else square
            self._counts[name] = self._counts.get(name, 0) + tensor.numel()

        return add


class NormProbe:
    """The norms that a run wants, for the steps that are logged.

    ``begin`` comes before the forwards of such a step and ``end`` after its backwards, before clipping.

    Args:
        model: The model, not a compiled wrapper of it.
        activations, weights, gradients: What to measure.
    """

    def __init__(self, model: torch.nn.Module, *, activations: bool, weights: bool, gradients: bool) -> None:
        self.model = model
        self.weights = weights
        self.gradients = gradients
        self.activations = ActivationNorms(blocks_of(model)) if activations else None

    def begin(self) -> None:
        """Start watching activations, if they are wanted."""
        if self.activations is not None:
            self.activations.attach()

    def end(self) -> dict[str, torch.Tensor]:
        """Stop watching and return every wanted norm as a 0-dim tensor on the device; nothing if all is off."""
        found = self.activations.detach() if self.activations is not None else {}
        if self.weights:
            found |= weight_norms(dict(self.model.named_parameters()))
        if self.gradients:
            found |= gradient_norms(dict(self.model.named_parameters()))
        return found
