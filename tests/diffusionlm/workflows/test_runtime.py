"""Where to compute: what ``auto`` chooses, and what is refused."""

import pytest
import torch

from diffusionlm.errors import ConfigError
from diffusionlm.workflows.runtime import choose_device, network_dtype


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(cuda, mps, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == torch.device("cpu")
    assert not mps or choose_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=rf"^device '{name}' is not available here; set device = \"auto\" or \"cpu\"$"
    ):
        choose_device(name)


def test_precisions():
    cpu = torch.device("cpu")
    names = {name: network_dtype(name, cpu) for name in ("fp32", "bf16", "fp64")}
    assert names == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
    with pytest.raises(ConfigError, match=r"^precision \"fp64\" is not available on mps; set device = \"cpu\", or "):
        network_dtype("fp64", torch.device("mps"))
