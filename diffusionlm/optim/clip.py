"""Global-norm clipping of gradients that never waits for the device.

Whether the gradients are finite is decided where they are: a norm that is not finite turns every gradient into zero,
and the host learns of it only when it reads ``GradientNorm.finite``. Reference: Pascanu, Mikolov, Bengio, "On the
difficulty of training recurrent neural networks", ICML 2013, arXiv:1211.5063, algorithm 1.
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diffusionlm.lazy import torch


@dataclass(frozen=True)
class GradientNorm:
    """What clipping saw.

    Attributes:
        norm: 0-dim float32 (or float64), the global L2 norm before clipping; may be inf or nan.
        finite: 0-dim bool; False means that every gradient has been set to zero.
    """

    norm: torch.Tensor
    finite: torch.Tensor


def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float | None) -> GradientNorm:
    """Scale all gradients in place so that their global L2 norm is at most ``max_norm``; zero them if it is not finite.

    Args:
        parameters: Their ``.grad`` is changed; parameters without a gradient are skipped.
        max_norm: The bound, above 0; None only measures and guards.

    Returns:
        The norm before clipping and whether it was finite, on the gradients' device, without a host transfer.
    """
    assert max_norm is None or max_norm > 0, f"max_norm must be above 0 or None, got {max_norm}"
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return GradientNorm(torch.zeros(()), torch.ones((), dtype=torch.bool))
    with torch.no_grad():
        norms = torch._foreach_norm(gradients)
        norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]))
        finite = torch.isfinite(norm)
        alike: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
        for gradient in gradients:
            alike.setdefault((gradient.device, gradient.dtype), []).append(gradient)
        for (device, dtype), same in alike.items():
            if max_norm is not None:
                scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
                torch._foreach_mul_(same, scale.to(device=device, dtype=dtype))
            _zero_unless(finite.to(device), same, dtype)
    return GradientNorm(norm, finite)


def _zero_unless(keep: torch.Tensor, tensors: list[torch.Tensor], dtype: torch.dtype) -> None:
    """Set tensors of one dtype to zero in place where the 0-dim bool ``keep`` is False, without reading it.

    Zero times NaN is NaN, so the bit patterns are multiplied as integers: by 1 they stay, by 0 they become +0.0.
    """
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    torch._foreach_mul_([tensor.view(integer) for tensor in tensors], keep.to(integer))
