"""Where arithmetic in float64 happens, and every method beside a device that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

from diffusionlm.device import arithmetic_device

CASES = Path(__file__).with_name("without_float64_cases.py")


def test_where_the_arithmetic_happens() -> None:
    assert arithmetic_device("mps") == torch.device("cpu")
    assert arithmetic_device("cpu") == torch.device("cpu")
    assert arithmetic_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot be taught a device from Python",
)
@pytest.mark.parametrize("part", ["trains", "sample", "not trains and not sample"])
def test_beside_a_device_without_float64(part: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", part, str(CASES)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=CASES.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
