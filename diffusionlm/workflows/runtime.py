"""Where and how to compute: device, threads, precision, determinism; decided once, at the start of a command."""

from __future__ import annotations

import ctypes
import sys
from typing import Literal

import torch

from diffusionlm.device import WITHOUT_FLOAT64
from diffusionlm.errors import ConfigError
from diffusionlm.workflows.command import Device

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20


def choose_device(wanted: Device) -> torch.device:
    """Return the device of the network; ``auto`` is CUDA where it is there, else MPS where that is, else the CPU.

    Raises:
        ConfigError: It was named and is not there.
    """
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if wanted in there and not there[wanted]():
        raise ConfigError(f'device {wanted!r} is not available here; set device = "auto" or "cpu"')
    found = next((name for name in there if there[name]()), "cpu") if wanted == "auto" else wanted
    return torch.device(found)


def network_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype that a precision names.

    Raises:
        ConfigError: The device has no such arithmetic.
    """
    if precision == "fp64" and device.type in WITHOUT_FLOAT64:
        raise ConfigError(
            f'precision "fp64" is not available on {device.type}; set device = "cpu", or precision "fp32"'
        )
    return DTYPES[precision]


def training_dtype(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """Return the dtype to train in; ``auto`` is bfloat16 where the device multiplies it in hardware."""
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and (
            torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # no public word for it yet
        )
    return torch.bfloat16 if fast else torch.float32


def set_threads(threads: int) -> None:
    """Let torch use so many CPU threads; 0 leaves its choice."""
    if threads > 0:
        torch.set_num_threads(threads)


def keep_memory() -> None:
    """Tell glibc to keep freed blocks of a few megabytes for the next step instead of giving them back each time.

    Training on the CPU frees and asks for the same large blocks at every step; with glibc's defaults each of them is
    mapped and zeroed by the kernel page by page, which costs up to a quarter of the step. Does nothing elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # another C library: nothing to tell it
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def make_deterministic(wanted: bool) -> None:
    """Refuse nondeterministic kernels from now on, if wanted."""
    if wanted:
        torch.use_deterministic_algorithms(True)
