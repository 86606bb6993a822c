"""Groups hold every parameter once, mistakes are named, and the state survives a save and a restore exactly."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.optim import OPTIMIZERS, AdamWParams, MuonParams, build_optimizer, canonical_name
from diffusionlm.params import Strict

EVERY = [OPTIMIZERS[name].Params() for name in OPTIMIZERS]
EVERY_NAME = list(OPTIMIZERS)
every = pytest.mark.parametrize("params", EVERY, ids=EVERY_NAME)


def test_registry_names():
    assert set(OPTIMIZERS) == {"adamw", "muon"}
    with pytest.raises(ConfigError, match=r"unknown optimizer 'sgd'; known: adamw, muon"):
        OPTIMIZERS["sgd"]


@every
def test_every_parameter_is_in_exactly_one_group(params, parameters, roles):
    optimizer = build_optimizer(params, parameters, roles)
    names = [name for group in optimizer.groups for name in group.names]
    assert sorted(names) == sorted(parameters)
    assert sum(p.numel() for g in optimizer.groups for p in g.parameters) == sum(p.numel() for p in parameters.values())
    assert {group.role for group in optimizer.groups if group.weight_decay} == {"hidden", "head"}


@every
def test_every_parameter_moves(params, parameters, roles, fill):
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = build_optimizer(params, parameters, roles)
    fill(parameters, 0)
    optimizer.step(1.0)
    still = [name for name, parameter in parameters.items() if torch.equal(parameter, before[name])]
    assert still == []


@every
def test_a_parameter_without_a_role_is_named(params, parameters, roles):
    del roles["layers.0.square"]
    with pytest.raises(ConfigError, match=r"layers\.0\.square has no role.*hidden, embedding, head, vector"):
        build_optimizer(params, parameters, roles)


@every
def test_an_unknown_role_is_named(params, parameters, roles):
    roles["norm.gain"] = "scalar"
    with pytest.raises(ConfigError, match=r"norm\.gain has the unknown role 'scalar'; known: hidden"):
        build_optimizer(params, parameters, roles)


@every
def test_a_vector_cannot_be_hidden(params, parameters, roles):
    roles["norm.gain"] = "hidden"
    with pytest.raises(ConfigError, match=r"norm\.gain of shape \(8,\) is no matrix: its role is 'vector'"):
        build_optimizer(params, parameters, roles)


@every
def test_a_missing_gradient_is_named_and_nothing_moves(params, parameters, roles, fill):
    optimizer = build_optimizer(params, parameters, roles)
    fill(parameters, 0)
    parameters["layers.1.tall"].grad = None
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with pytest.raises(ConfigError, match=r"no gradient reached layers\.1\.tall: "):
        optimizer.step(1.0)
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)
    assert optimizer.state_scalars() == {"step": 0}


@every
def test_frozen_half_precision_shared_and_no_parameters_are_refused(params, parameters, roles):
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_optimizer(params, {}, roles)
    half = torch.nn.Parameter(torch.zeros(11, 8, dtype=torch.bfloat16))
    with pytest.raises(ConfigError, match=r"head\.weight is torch\.bfloat16: master weights must be float32"):
        build_optimizer(params, {**parameters, "head.weight": half}, roles)
    with pytest.raises(ConfigError, match=r"head\.weight and embed\.weight are one parameter"):
        build_optimizer(params, {**parameters, "head.weight": parameters["embed.weight"]}, roles)
    parameters["norm.gain"].requires_grad_(False)
    with pytest.raises(ConfigError, match=r"norm\.gain is frozen"):
        build_optimizer(params, parameters, roles)


@every
def test_roles_of_other_ranks_parameters_are_ignored(params, parameters, roles):
    owned = {name: parameters[name] for name in ("layers.0.wide", "norm.gain")}
    optimizer = build_optimizer(params, owned, roles)
    assert {key.split("/")[0] for key in optimizer.state_tensors()} == set(owned)


def test_compiled_names_are_unwrapped(parameters, roles, fill):
    assert canonical_name("_orig_mod.layers.0._orig_mod.wide") == "layers.0.wide"
    wrapped = {f"_orig_mod.{name}": parameter for name, parameter in parameters.items()}
    plain = build_optimizer(MuonParams(), parameters, roles)
    compiled = build_optimizer(MuonParams(), wrapped, {f"_orig_mod.{name}": role for name, role in roles.items()})
    assert compiled.state_tensors().keys() == plain.state_tensors().keys()
    assert [group.names for group in compiled.groups] == [group.names for group in plain.groups]


def test_a_really_compiled_module_has_unwrapped_names():
    module = torch.nn.Linear(4, 4)
    compiled = torch.compile(module)  # wrapping alone compiles nothing
    named = dict(compiled.named_parameters())
    assert set(named) == {"_orig_mod.weight", "_orig_mod.bias"}
    optimizer = build_optimizer(MuonParams(), named, {"weight": "hidden", "bias": "vector"})
    assert set(optimizer.state_tensors()) == {"weight/momentum", "bias/m", "bias/v"}


@every
def test_zero_grad(params, parameters, roles, fill):
    optimizer = build_optimizer(params, parameters, roles)
    fill(parameters, 0)
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in parameters.values())
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters.values())


@every
def test_a_restored_optimizer_goes_on_bit_for_bit(params, make, fill, roles, tmp_path):
    from safetensors.torch import load_file, save_file

    unbroken = make()
    optimizer = build_optimizer(params, unbroken, roles)
    for step in range(6):
        fill(unbroken, step)
        optimizer.step(1.0)
        if step == 2:
            weights = {name: parameter.detach().clone() for name, parameter in unbroken.items()}
            save_file(optimizer.state_tensors(), tmp_path / "optimizer.safetensors")
            scalars = optimizer.state_scalars()
    resumed = {name: torch.nn.Parameter(weights[name]) for name in weights}
    second = build_optimizer(params, resumed, roles)
    second.load_state_tensors(load_file(tmp_path / "optimizer.safetensors"))
    second.load_state_scalars(scalars)
    for step in range(3, 6):
        fill(resumed, step)
        second.step(1.0)
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    assert second.state_scalars() == optimizer.state_scalars() == {"step": 6}
    ours, theirs = second.state_tensors(), optimizer.state_tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@every
def test_a_state_of_another_model_is_refused_whole(params, parameters, roles):
    optimizer = build_optimizer(params, parameters, roles)
    saved = {name: torch.ones_like(tensor) for name, tensor in optimizer.state_tensors().items()}
    first = next(iter(saved))
    with pytest.raises(CheckpointError, match=f"optimizer state lacks {first}"):
        optimizer.load_state_tensors({name: tensor for name, tensor in saved.items() if name != first})
    with pytest.raises(CheckpointError, match="optimizer state has unknown other/m"):
        optimizer.load_state_tensors({**saved, "other/m": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"is torch.float32 \(3,\), expected torch.float32"):
        optimizer.load_state_tensors({**saved, first: torch.ones(3)})
    assert not any(tensor.any() for tensor in optimizer.state_tensors().values())
    for scalars in ({}, {"step": -1}, {"step": 1.5}):
        with pytest.raises(CheckpointError, match="step count"):
            optimizer.load_state_scalars(scalars)


def test_union_reads_tables_and_refuses_typos():
    class Holder(Strict):
        optimizer: OPTIMIZERS.union("muon")  # type: ignore[valid-type]

    assert Holder.model_validate({"optimizer": {"lr": 0.1}}).optimizer == MuonParams(lr=0.1)
    assert Holder.model_validate({"optimizer": {"name": "adamw"}}).optimizer == AdamWParams()
    for wrong in ({"learning_rate": 0.1}, {"lr": -1}, {"momentum": 1.0}, {"name": "adamw", "eps": 0}):
        with pytest.raises(ValidationError):
            Holder.model_validate({"optimizer": wrong})


def test_reading_the_parameters_imports_no_torch():
    code = "import sys, diffusionlm.optim; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
