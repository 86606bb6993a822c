"""A device that has no float64 and shares no tensor with the CPU, for machines that have none: a stand-in for MPS.

Its memory is the CPU's, and every operation runs there; what it adds is refusal. A float64 tensor on it, an operation
between its tensors and others (0-dim ones aside, as everywhere in torch), or a copy that changes device and converts
from or to float64 at once (which side would do it?) raises. Code that runs here asks nothing of MPS that MPS lacks by
type; whether MPS has every kernel is not known from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "nodouble"
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class DeviceTensor(torch.Tensor):
    """A tensor on the device; ``inner`` holds its values."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> DeviceTensor:
        if inner.dtype == torch.float64:
            raise TypeError(f"device {NAME} has no float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    def data_ptr(self) -> int:
        """Return where the values are, which tells tensors that share memory from others."""
        return self.inner.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run an operation on the values, and put the device's name on what comes out."""
    flat, spec = pytree.tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    if func in _COPIES:
        _check_copy(func, args, kwargs)
    elif any(value.dim() and not isinstance(value, DeviceTensor) for value in tensors):
        raise RuntimeError(f"{func}: tensors on {NAME} and on another device")
    ours = {id(value.inner): value for value in tensors if isinstance(value, DeviceTensor)}
    inner_args, inner_kwargs = pytree.tree_unflatten([_inner(value) for value in flat], spec)
    out = func(*inner_args, **inner_kwargs)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if func is torch.ops.aten._to_copy.default and not _is_ours(kwargs.get("device", NAME)):
        return out

    def outer(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return ours[id(value)] if id(value) in ours else DeviceTensor(value)

    return pytree.tree_map(outer, out)


def _check_copy(func: Any, args: tuple, kwargs: dict) -> None:
    source = args[1] if func is torch.ops.aten.copy_.default else args[0]
    into = args[0].dtype if func is torch.ops.aten.copy_.default else kwargs.get("dtype") or source.dtype
    if torch.float64 in (source.dtype, into):
        raise TypeError(f"{func}: a copy to or from {NAME} that converts {source.dtype} to {into} on the way")


def _is_ours(device: Any) -> bool:
    return torch.device(device).type == NAME


def _inner(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


_library: list[torch.library.Library] = []


def register() -> torch.device:
    """Make the device known to torch, once a process, and return it."""
    if not _library:
        _setup_privateuseone_for_python_backend(NAME)
        _library.append(torch.library.Library("_", "IMPL"))
        run: Callable[..., Any] = lambda func, *args, **kwargs: _run(func, args, kwargs)  # noqa: E731
        _library[0].fallback(run, "PrivateUse1")
    return torch.device(NAME, 0)
