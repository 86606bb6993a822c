"""A network on a device without float64 trains, samples and is scored as on the CPU; over all methods.

Run by ``test_device.py`` in processes of their own: torch learns of a device only before its first backward pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import diffusionlm
from diffusionlm.checkpoint import load_checkpoint
from diffusionlm.device import WITHOUT_FLOAT64
from diffusionlm.evaluation import ce_curve, likelihood
from diffusionlm.evaluation.objective_loss import objective_loss
from diffusionlm.generation.batches import complete
from diffusionlm.generation.canvas import Hole, Template
from diffusionlm.generation.params import GenerationParams
from diffusionlm.model.transformer import Transformer
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import EMA, EMAParams, build_optimizer
from diffusionlm.optim.adamw import AdamWParams
from diffusionlm.optim.muon import MuonParams
from diffusionlm.process import PROCESSES
from diffusionlm.runlog.norms import fetch
from diffusionlm.sampling import SAMPLERS
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows.train import train
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents
from tests.diffusionlm.without_float64 import DeviceTensor, register
from tests.diffusionlm.workflows.runs import STEPS, configuration, lines_of, write_text

DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6, 8], K)
PACKED = lay_rows([DOCUMENTS[:3], DOCUMENTS[3:5], DOCUMENTS[5:7], DOCUMENTS[7:]], 18, frozen=1)
TEMPLATES = [Template(((1, 2, 3), Hole(7))), Template((Hole(10),)), Template(((4,), Hole(2), (5, 6), Hole(5), (7,)))]

ADAMW = AdamWParams(lr=0.01, eps=1e-3)
MUON = MuonParams(lr=0.01, eps=1e-3, precision="float32")
"""Their eps keeps a gradient that is zero up to rounding from becoming a step of full length in either direction."""


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    found = register()
    monkeypatch.setattr("diffusionlm.device.WITHOUT_FLOAT64", WITHOUT_FLOAT64 | {found.type})
    monkeypatch.setattr("diffusionlm.runlog.norms.WITHOUT_FLOAT64", WITHOUT_FLOAT64 | {found.type})
    return found


class TestTheStandIn:
    def test_it_computes(self, device: torch.device) -> None:
        x = torch.arange(3.0).to(device).requires_grad_()
        (x * x + torch.ones(3, device=device)).sum().cpu().backward()
        assert isinstance(x.grad, DeviceTensor)
        assert x.grad.cpu().tolist() == [0.0, 2.0, 4.0]

    def test_it_refuses(self, device: torch.device) -> None:
        x = torch.zeros(3, device=device)
        with pytest.raises(TypeError, match="no float64"):
            torch.zeros(3, device=device, dtype=torch.float64)
        with pytest.raises(RuntimeError, match="another device"):
            x + torch.ones(3)
        with pytest.raises(TypeError, match="on the way"):
            x.to("cpu", torch.float64)
        with pytest.raises(TypeError, match="on the way"):
            torch.zeros(3, dtype=torch.float64).to(device, torch.float32)
        with pytest.raises(TypeError, match="on the way"):
            x[:] = torch.zeros(3, dtype=torch.float64)


def train_step(device: torch.device | str, objective: Any, model: Transformer, optimizer: Any) -> TrainStep:
    model.to(device)
    parameters = dict(model.named_parameters())
    built = build_optimizer(optimizer, parameters, model.parameter_roles())
    average = EMA(EMAParams(decay=0.9), parameters)
    place = torch.device(device)
    return TrainStep(model, parameters, objective, built, average, clip_norm=1.0, seed=0, device=place)


def pairs() -> list[tuple[str, str]]:
    """Return every objective with every process that it can train."""
    return [
        (name, other) for name in OBJECTIVES for other in PROCESSES if not OBJECTIVES[name].refusal(PROCESSES[other])
    ]


def assert_same_training(device: torch.device, objective: Any, optimizer: Any = None, **values: Any) -> None:
    """Train two steps on both devices and compare losses, levels, weights and averages."""
    seen = []
    for place in ("cpu", device):
        model = network(dtype=torch.float32, **values).train()
        step = train_step(place, objective, model, optimizer or ADAMW)
        losses = [float(step([PACKED.rows(0, 1), PACKED.rows(1, 4)], n, 1.0).loss) for n in range(2)]
        means = fetch(step.levels.means())
        named = {**step.parameters, **{f"ema/{n}": t for n, t in step.ema.state_tensors().items()}}  # type: ignore[union-attr]
        assert all(tensor.device == torch.device(place) for tensor in named.values())
        seen.append((losses, means, {n: t.detach().cpu() for n, t in named.items()}))
    (losses, means, weights), (other_losses, other_means, other_weights) = seen
    assert losses == pytest.approx(other_losses, rel=1e-4)
    assert means == pytest.approx(other_means, rel=1e-4, nan_ok=True)
    assert all(torch.allclose(weights[n], other_weights[n], atol=1e-4) for n in weights)


@pytest.mark.parametrize("pair", pairs(), ids="-".join)
def test_every_method_trains(device: torch.device, pair: tuple[str, str]) -> None:
    process = PROCESSES[pair[1]](PROCESSES[pair[1]].Params(), VOCABULARY)
    assert_same_training(device, OBJECTIVES.build(OBJECTIVES[pair[0]].Params(), process), layers=1)


@pytest.mark.parametrize(
    "values",
    [
        {"time_conditioning": True},
        {"kv_heads": 2, "qk_norm": True, "activation": "relu2"},
        {"tied": True},
        {"dropout": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", [ADAMW, MUON], ids=["adamw", "muon"])
def test_every_network_trains(device: torch.device, values: dict[str, Any], optimizer: Any) -> None:
    process = PROCESSES["mask"](PROCESSES["mask"].Params(), VOCABULARY)
    if "dropout" in values:
        model = network(dtype=torch.float32, **values).train()
        step = train_step(device, OBJECTIVES.build(OBJECTIVES["nelbo"].Params(), process), model, optimizer)
        assert float(step([PACKED], 0, 1.0).loss) > 0
        return
    assert_same_training(device, OBJECTIVES.build(OBJECTIVES["nelbo"].Params(), process), optimizer, **values)


def sampled_pairs() -> list[tuple[str, str]]:
    """Return every sampler with every process that it fits."""
    return [(s, p) for s in SAMPLERS for p in PROCESSES if issubclass(PROCESSES[p], SAMPLERS[s].requires)]


@pytest.mark.parametrize("pair", sampled_pairs(), ids="-".join)
def test_every_sampler_gives_the_same_samples(device: torch.device, pair: tuple[str, str]) -> None:
    process = PROCESSES[pair[1]](PROCESSES[pair[1]].Params(), VOCABULARY)
    params = GenerationParams(sampler=SAMPLERS[pair[0]].Params(), steps=6, batch_size=2)
    model = network(dtype=torch.float32, layers=1, causal=pair[1] == "ar", time_conditioning=pair[1] != "ar")
    expected = complete(model, process, TEMPLATES, params, trace=True)
    got = complete(model.to(device), process, TEMPLATES, params, trace=True)
    assert [(one.ids, one.nfe) for one in got] == [(one.ids, one.nfe) for one in expected]


@pytest.mark.parametrize(
    ("name", "values"),
    [("mask", {"guidance": 1.5}), ("uniform", {"self_correction": {}}), ("mask", {"block_length": 4})],
    ids=str,
)
def test_so_do_guidance_correction_and_blocks(device: torch.device, name: str, values: dict[str, Any]) -> None:
    process = PROCESSES[name](PROCESSES[name].Params(), VOCABULARY)
    params = GenerationParams.model_validate({"steps": 6, **values})
    model = network(dtype=torch.float32)
    expected = complete(model, process, TEMPLATES, params)
    assert [one.ids for one in complete(model.to(device), process, TEMPLATES, params)] == [o.ids for o in expected]


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_scored_alike(device: torch.device, name: str) -> None:
    process = PROCESSES[name](PROCESSES[name].Params(), VOCABULARY)
    objective = next(OBJECTIVES.build(OBJECTIVES[o].Params(), process) for o, p in pairs() if p == name)
    batches, lengths = [PACKED.rows(0, 2), PACKED.rows(2, 4)], torch.ones(K, dtype=torch.int64).numpy()
    model, seen = network(dtype=torch.float32), []
    for place in ("cpu", device):
        model.to(place)
        found = [ce_curve(model, process, batches, seed=0, device=place).nats]
        found.append(objective_loss(model, objective, batches, draws=2, seed=0, device=torch.device(place)))
        if process.bound != "none":
            found.append(likelihood(model, process, batches, lengths, draws=2, seed=0, device=place).nats_per_token)
        seen.append(torch.hstack([torch.tensor(value) for value in found]))
    assert torch.allclose(seen[0], seen[1], rtol=1e-4)


def test_norms_are_measured(device: torch.device) -> None:
    numbers = fetch({"a": torch.tensor(0.1, dtype=torch.float64), "b": torch.tensor(0.5).to(device)})
    assert numbers == {"a": 0.1, "b": 0.5}


@pytest.mark.parametrize("name", ["mask", "logit"])
def test_a_run_from_text_to_checkpoint_and_back(
    device: torch.device, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on the device, resumed there, and opened on either; with every measurement on."""
    text, seen = write_text(tmp_path), []
    log = {"outputs": [], "log_every": 1, "activation_norms": True, "gradient_norms": True, "weight_norms": True}
    for place in (torch.device("cpu"), device):
        for module in ("train", "opened"):
            monkeypatch.setattr(f"diffusionlm.workflows.{module}.choose_device", lambda wanted, place=place: place)
        params = configuration(text, tmp_path / place.type, log=log, process={"name": name})
        whole = train(params)
        seen.append([line["loss"] for line in lines_of(whole.folder) if "loss" in line])
        again = {"resume": f"{whole.folder}/checkpoints/step-8", "folder": tmp_path / f"{place.type}-again"}
        train(params.model_copy(update={"run": params.run.model_copy(update=again)}))
        end = [load_checkpoint(folder / "checkpoints" / f"step-{STEPS}") for folder in (whole.folder, again["folder"])]
        assert all(torch.equal(t, end[1].weights("ema")[n]) for n, t in end[0].weights("ema").items())
    assert seen[1] == pytest.approx(seen[0], rel=1e-3)
    texts = []
    for place in (torch.device("cpu"), device):
        monkeypatch.setattr("diffusionlm.workflows.opened.choose_device", lambda wanted, place=place: place)
        model = diffusionlm.load(str(tmp_path / device.type))
        found = model.generate("the ", length=6)[0].ids, model.infill("the <|hole:4|> of")[0].text
        texts.append((*found, round(model.score("the flow of noise").nats_per_token, 4) if name == "mask" else 0.0))
    assert texts[0] == texts[1]
