"""torch is imported when it is first used, and not before."""

import subprocess
import sys

import torch

from diffusionlm.lazy import torch as lazy

PROGRAM = """
import sys
from diffusionlm.lazy import torch
import diffusionlm.process, diffusionlm.objective, diffusionlm.sampling, diffusionlm.workflows.params
assert "torch" not in sys.modules, "a parameter class imported torch"
assert int(torch.ones(3).sum()) == 3
assert "torch" in sys.modules
"""


def test_nothing_that_holds_parameters_imports_torch():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_stand_in_gives_the_real_thing():
    assert lazy.Tensor is torch.Tensor
    assert lazy.nn.functional is torch.nn.functional
