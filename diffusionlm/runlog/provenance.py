"""Where a run came from: what ``run.json`` holds, so that its numbers can be traced and repeated."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffusionlm.lazy import torch

PACKAGES = ("flowlm", "torch", "numpy", "triton", "safetensors", "tokenizers")


def collect_provenance(
    *,
    seed: int,
    data_hashes: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return facts about this run as plain JSON values; what cannot be found out is None, never an error.

    Args:
        seed: The run's seed.
        data_hashes: Name to hash of the data used.
        command: The command line; this process's own if not given.
    """
    return {
        "command": list(sys.argv if command is None else command),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git": git_state(Path(__file__).resolve().parents[2]),
        "versions": versions(),
        "host": host_facts(),
        "seed": seed,
        "data": dict(data_hashes or {}),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout that holds this library and whether tracked files were changed.

    None when the library is not in a checkout (an installed wheel, also one inside somebody else's checkout), or when
    git is not installed.
    """
    if not _git(folder, "ls-files", "--error-unmatch", "diffusionlm/__init__.py"):
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)} if commit else None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command printed, or None if it failed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide numbers; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def host_facts() -> dict[str, Any]:
    """Return what the machine is: system, processor, cores, memory, GPUs; nothing that names it or its user."""
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpu_cores": len(available),
        "cpu_threads_torch": torch.get_num_threads(),
        "memory_bytes": memory_bytes(),
        "gpus": [gpu_facts(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def gpu_facts(index: int) -> dict[str, Any]:
    """Return a CUDA device's name and memory."""
    properties = torch.cuda.get_device_properties(index)
    return {"name": properties.name, "memory_bytes": properties.total_memory}


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows at least the family
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Return the size of the machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
