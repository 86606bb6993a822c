"""Where to compute: what ``auto`` chooses, and what is refused."""

import pytest
import torch

from diffusionlm.errors import ConfigError
from diffusionlm.workflows.runtime import choose_device


@pytest.mark.parametrize(("gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_else_the_cpu(gpu, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == torch.device("cpu")


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^device 'cuda' is not available here; set device = .*$"):
        choose_device("cuda")


def test_mps_is_refused_where_it_is_there_too(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"^device 'mps' is not supported yet: .* float64.*; set device = \"cpu\"$"):
        choose_device("mps")
