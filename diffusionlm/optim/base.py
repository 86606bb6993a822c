"""What every optimizer is: parameters in groups by role, a step, and a state keyed by parameter name.

The model says what each parameter is for (its role); an optimizer says which rule and learning rate a role gets. Every
parameter is in exactly one group, and the number of parameters is asserted, so that nothing is ever left untrained
without a word. State lives in plain tensors under ``"<parameter name>/<slot>"``, which a checkpoint can hold for any
number of ranks, and never under an index or a memory address.
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.lazy import torch
from diffusionlm.optim.width import Scale, unscaled

LARGEST_RATE = 1e30
"""Learning rates and decays above it overflow float32 in the update itself."""

if TYPE_CHECKING:
    from diffusionlm.params import Strict

ROLES = ("hidden", "embedding", "head", "vector")
DECAYED_ROLES = ("hidden", "head")
"""Weight decay acts on matrices that multiply activations. An embedding row is only touched when its token occurs, so
decay would forget rare tokens, and norm gains and biases have no scale to control."""

_COMPILED = "_orig_mod."


def canonical_name(name: str) -> str:
    """Return a parameter's name without the prefix that ``torch.compile`` puts around a module.

    This is the one place where wrapped names are undone; everything here stores and compares canonical names.
    """
    return name.replace(_COMPILED, "")


def canonical_names(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same tensors under canonical names, in the same order."""
    renamed = {canonical_name(name): tensor for name, tensor in named.items()}
    assert len(renamed) == len(named), f"{len(named)} names became {len(renamed)} after unwrapping"
    return renamed


@dataclass(frozen=True)
class ParameterGroup:
    """The parameters of one role.

    Attributes:
        role: One of ``ROLES``.
        names: Canonical names, in the model's order.
        parameters: The tensors that are trained, in the order of ``names``.
        lr: The learning rate at multiplier 1, before ``scale``.
        weight_decay: Decoupled decay per unit of learning rate; 0 for roles that are not decayed.
        scale: Factor of the learning rate that follows from the width (``diffusionlm.optim.width``). The decay is
            divided by it, so that what a step forgets does not depend on the width.
    """

    role: str
    names: tuple[str, ...]
    parameters: tuple[torch.Tensor, ...]
    lr: float
    weight_decay: float
    scale: float = 1.0

    def gradients(self) -> list[torch.Tensor]:
        """Return the gradients in the order of ``parameters``.

        Raises:
            ConfigError: Some parameter has none, so it would stay untrained.
        """
        pairs = [(name, parameter.grad) for name, parameter in zip(self.names, self.parameters, strict=True)]
        missing = [name for name, gradient in pairs if gradient is None]
        if missing:
            raise ConfigError(
                f"no gradient reached {', '.join(missing)}: every parameter given to the optimizer must take part in "
                "the loss; switch off the part of the model that is not used, or freeze it and leave it out"
            )
        return [gradient for _, gradient in pairs if gradient is not None]


def group_by_role(
    named_parameters: Mapping[str, torch.nn.Parameter],
    roles: Mapping[str, str],
    rates: Mapping[str, float],
    weight_decay: float,
    scale: Scale = unscaled,
) -> tuple[ParameterGroup, ...]:
    """Sort parameters into one group per role, all of them and each once.

    Args:
        named_parameters: Name to parameter. Names may carry compile wrappers.
        roles: Name to role; names that are not among the parameters are ignored (a rank that owns a share of the
            parameters passes the roles of all).
        rates: Role to learning rate.
        weight_decay: Decay of the roles in ``DECAYED_ROLES``.
        scale: From a role and a parameter to the factor of its learning rate; a role has a group for each factor.

    Raises:
        ConfigError: A parameter has no role or an unknown one, is frozen, is given twice, or is not in float32 or
            float64; a matrix role is given to something with fewer than two dimensions; or there is nothing to train.
    """
    parameters = canonical_names(named_parameters)
    known = {canonical_name(name): role for name, role in roles.items()}
    seen: dict[int, str] = {}
    for name, parameter in parameters.items():
        _check_parameter(name, parameter, known)
        if id(parameter) in seen:
            raise ConfigError(f"{name} and {seen[id(parameter)]} are one parameter: give it to the optimizer once")
        seen[id(parameter)] = name
    if not parameters:
        raise ConfigError("there is no parameter to train: the optimizer was given none")
    groups = []
    for role in ROLES:
        decay = weight_decay if role in DECAYED_ROLES else 0.0
        factors = {name: scale(role, parameter) for name, parameter in parameters.items() if known[name] == role}
        for factor in sorted(set(factors.values())):
            names = tuple(name for name in factors if factors[name] == factor)
            tensors = tuple(parameters[name] for name in names)
            groups.append(ParameterGroup(role, names, tensors, rates[role], decay / factor, factor))
    given = sum(parameter.numel() for parameter in parameters.values())
    grouped = sum(parameter.numel() for group in groups for parameter in group.parameters)
    assert given == grouped, f"{given} parameters were given but {grouped} are in groups"
    return tuple(groups)


def _check_parameter(name: str, parameter: torch.Tensor, roles: Mapping[str, str]) -> None:
    """Raise a ConfigError that names the parameter if it cannot be trained as asked."""
    if name not in roles:
        raise ConfigError(f"parameter {name} has no role: the model must give it one of {', '.join(ROLES)}")
    role = roles[name]
    if role not in ROLES:
        raise ConfigError(f"parameter {name} has the unknown role {role!r}; known: {', '.join(ROLES)}")
    if role != "vector" and parameter.ndim < 2:
        raise ConfigError(f"parameter {name} of shape {tuple(parameter.shape)} is no matrix: its role is 'vector'")
    if not parameter.requires_grad:
        raise ConfigError(f"parameter {name} is frozen: give the optimizer only parameters that require gradients")
    if parameter.dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"parameter {name} is {parameter.dtype}: master weights must be float32 (or float64)")


class Optimizer(ABC):
    """Base of every optimizer. One ``step`` is one update of every parameter.

    Attributes:
        groups: The parameters by role.
        steps: Number of updates made so far.
        state: Slot to canonical parameter name to tensor.
    """

    Params: ClassVar[type[Strict]]

    def __init__(
        self,
        named_parameters: Mapping[str, torch.nn.Parameter],
        roles: Mapping[str, str],
        rates: Mapping[str, float],
        weight_decay: float,
        scale: Scale = unscaled,
    ) -> None:
        self.groups = group_by_role(named_parameters, roles, rates, weight_decay, scale)
        self.steps = 0
        self.state: dict[str, dict[str, torch.Tensor]] = {}

    def step(self, lr_multiplier: float) -> None:
        """Update every parameter in place from its gradient.

        Args:
            lr_multiplier: What the schedule says for this step, times each group's learning rate.

        Raises:
            ConfigError: A parameter has no gradient.
        """
        gradients = [group.gradients() for group in self.groups]
        self.steps += 1
        with torch.no_grad():
            for group, group_gradients in zip(self.groups, gradients, strict=True):
                self._update(group, group_gradients, lr_multiplier * group.lr * group.scale)

    @abstractmethod
    def _update(self, group: ParameterGroup, gradients: list[torch.Tensor], lr: float) -> None:
        """Update one group in place at the given learning rate; ``self.steps`` already counts this step."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient, or with ``set_to_none=False`` fill the existing ones with zeros."""
        for group in self.groups:
            if set_to_none:
                for parameter in group.parameters:
                    parameter.grad = None
            elif gradients := [p.grad for p in group.parameters if p.grad is not None]:
                torch._foreach_zero_(gradients)

    def learning_rates(self, lr_multiplier: float) -> dict[str, float]:
        """Return each role's learning rate at the given multiplier, before the scale that follows from the width."""
        return {group.role: group.lr * lr_multiplier for group in self.groups}

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Return the live state tensors (not copies) under ``"<parameter name>/<slot>"``."""
        return {f"{name}/{slot}": tensor for slot, named in self.state.items() for name, tensor in named.items()}

    def load_state_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy a saved state into this optimizer.

        Raises:
            CheckpointError: A tensor is missing, unknown, or of another shape or dtype.
        """
        copy_matching(self.state_tensors(), tensors, "optimizer state")

    def state_scalars(self) -> dict[str, int | float]:
        """Return the part of the state that is plain numbers: the count of steps."""
        return {"step": self.steps}

    def load_state_scalars(self, scalars: Mapping[str, int | float]) -> None:
        """Restore what ``state_scalars`` returned.

        Raises:
            CheckpointError: The count of steps is missing or is no count.
        """
        if "step" not in scalars or int(scalars["step"]) != scalars["step"] or scalars["step"] < 0:
            raise CheckpointError(
                f"optimizer state: expected a step count, got {dict(scalars)}; use another checkpoint"
            )
        self.steps = int(scalars["step"])


def copy_matching(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], what: str) -> None:
    """Copy saved tensors over tensors of the same names, in place, after checking every one of them.

    Raises:
        CheckpointError: Names, shapes or dtypes differ; nothing has been copied then.
    """
    missing, unknown = [name for name in own if name not in saved], [name for name in saved if name not in own]
    if missing or unknown:
        side, names = ("lacks", missing) if missing else ("has unknown", unknown)
        raise CheckpointError(
            f"{what} {side} {names[0]} ({len(names)} such): it was saved for another model or optimizer"
        )
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape or saved[name].dtype != tensor.dtype:
            came, wanted = saved[name], tensor
            raise CheckpointError(
                f"{what} {name} is {came.dtype} {tuple(came.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}: "
                "it was saved for another model or optimizer"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
