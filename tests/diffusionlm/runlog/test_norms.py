"""Norms by layer equal a plain computation, hooks come and go, and the host reads once for each logged step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from diffusionlm.errors import ConfigError
from diffusionlm.runlog import ActivationNorms, NormProbe, blocks_of, fetch, gradient_norms, weight_norms
from diffusionlm.runlog.norms import layer_of


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)) for _ in range(3))
        self.drop = nn.Dropout(0.0)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = x + layer(x)
        return self.drop(x) * self.gain


class Transfers(TorchDispatchMode):
    """Counts operations, and those that hand a value to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        self.reads += func.overloadpacket.__name__ == "_local_scalar_dense"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_layers_of_names():
    assert layer_of("layers.3.attention.query.weight") == "layers.3"
    assert layer_of("_orig_mod.layers.3.1.weight") == "layers.3"
    assert layer_of("embed.weight") == "embed"
    assert layer_of("gain") == "gain"


def test_blocks_are_members_of_lists_and_other_modules_with_parameters(model):
    assert list(blocks_of(model)) == ["embed", "layers.0", "layers.1", "layers.2"]


def test_weight_and_gradient_norms_by_layer(model):
    named = dict(model.named_parameters())
    assert gradient_norms(named) == {}
    model(IDS).square().sum().backward()
    for prefix, found, tensors in (
        ("weight_norm", weight_norms(named), {name: p.detach() for name, p in named.items()}),
        ("gradient_norm", gradient_norms(named), {name: p.grad for name, p in named.items()}),
    ):
        assert set(found) == {f"{prefix}/{layer}" for layer in ("embed", "layers.0", "layers.1", "layers.2", "gain")}
        for key, value in fetch(found).items():
            layer = key.removeprefix(f"{prefix}/")
            squares = sum(
                float((t.double() ** 2).sum())
                for name, t in tensors.items()
                if t is not None and (name == layer or name.startswith(layer + "."))
            )
            assert value == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_activation_rms_over_micro_batches(model):
    norms = ActivationNorms(blocks_of(model))
    norms.attach()
    with torch.no_grad():
        model(IDS)
        model(IDS[:1])
    found = fetch(norms.detach())
    assert set(found) == {f"activation_rms/{layer}" for layer in blocks_of(model)}
    embedded = torch.cat([model.embed(IDS), model.embed(IDS[:1])])
    assert found["activation_rms/embed"] == pytest.approx(float(embedded.detach().square().mean().sqrt()), rel=1e-5)
    norms.attach()  # a second measurement starts afresh
    model(IDS)
    again = fetch(norms.detach())
    assert again["activation_rms/embed"] == pytest.approx(
        float(model.embed(IDS).detach().square().mean().sqrt()), rel=1e-5
    )


def test_hooks_exist_only_while_attached_and_change_nothing(model):
    probe = NormProbe(model, activations=True, weights=False, gradients=False)
    assert hooks(model) == 0
    before = model(IDS)
    probe.begin()
    assert hooks(model) == 4
    assert torch.equal(model(IDS), before)
    probe.end()
    assert hooks(model) == 0


def test_off_costs_nothing(model):
    probe = NormProbe(model, activations=False, weights=False, gradients=False)
    with Transfers() as watch:
        probe.begin()
        assert hooks(model) == 0
        assert probe.end() == {}
        assert fetch({}) == {}
    assert watch.operations == 0


def test_everything_on_reads_the_host_never_and_fetch_takes_one_copy(model):
    probe = NormProbe(model, activations=True, weights=True, gradients=True)
    with Transfers() as watch:
        probe.begin()
        model(IDS).square().sum().backward()
        found = probe.end()
    assert watch.reads == 0
    assert len(found) == 4 + 5 + 5
    copied = []
    tolist = torch.Tensor.tolist

    def counting(tensor: torch.Tensor) -> list[float]:
        copied.append(tuple(tensor.shape))
        return tolist(tensor)

    with pytest.MonkeyPatch.context() as patch, Transfers() as watch:
        patch.setattr(torch.Tensor, "tolist", counting)
        numbers = fetch(found)
    assert (watch.reads, copied) == (0, [(14,)]), "all scalars travel in one packed tensor"
    assert all(isinstance(value, float) and value > 0 for value in numbers.values())


def test_fetch_is_exact():
    loss = torch.tensor(1 / 3)
    found = fetch({"loss": loss, "finite": torch.tensor(True), "count": torch.tensor(7), "nan": torch.tensor(math.nan)})
    assert found["loss"] == float(loss)
    assert (found["finite"], found["count"]) == (1.0, 7.0)
    assert math.isnan(found["nan"])


def test_a_forward_that_hooks_cannot_see_is_an_error(model):
    norms = ActivationNorms(blocks_of(model))
    norms.attach()
    with pytest.raises(ConfigError, match=r"saw no layer run: they cannot be combined with torch\.compile"):
        norms.detach()
    assert hooks(model) == 0
