"""The sampling bench at a tiny shape."""

import json

import pytest

from benchmarking.infer import bench_infer
from benchmarking.rows import read
from diffusionlm.errors import FlowLMError, PairingError
from diffusionlm.model.params import TransformerParams
from diffusionlm.process import PROCESSES
from diffusionlm.sampling import SAMPLERS
from diffusionlm.workflows.params import BenchInferParams

TINY = {"layers": 1, "width": 16, "heads": 2, "hidden": 32, "context_length": 8}


def params(model=None, **values):
    generation = {"steps": 3, "batch_size": 2, "length": 6}
    fixed = {"vocabulary": 20, "generation": generation, "warmup": 0, "repeats": 2, "threads": 1, "device": "cpu"}
    return BenchInferParams(model=TransformerParams(**TINY | (model or {})), **fixed | values)


def test_every_sampler_alone_and_together(one_process, tmp_path, capsys):
    path = tmp_path / "sampling.csv"
    result = bench_infer(params(samplers=[{"name": "ancestral"}, {"name": "confidence"}], output=path))
    assert [(row.contender, row.batch) for row in result.rows] == [
        ("ancestral", 1),
        ("ancestral", 2),
        ("confidence", 1),
        ("confidence", 2),
    ]
    for row in result.rows:
        assert (row.length, row.steps, row.vocabulary, row.weights, row.context) == (6, 3, 20, "fresh", 8)
        assert 0 < row.nfe <= 3
        assert row.tokens_per_second == pytest.approx(row.batch * 6 / row.p50_ms * 1000)
    assert len(read(path)) == 4
    assert "NFE" in capsys.readouterr().err
    assert len(json.loads(result.report())["rows"]) == 4
    assert "\n" not in result.report()


@pytest.mark.parametrize("process", PROCESSES)
def test_every_sampler_that_fits_runs_from_a_list(process, one_process):
    fitting = [name for name in SAMPLERS if issubclass(PROCESSES[process], SAMPLERS[name].requires)]
    rows = bench_infer(params(process={"name": process}, samplers=[{"name": name} for name in fitting])).rows
    assert [row.contender for row in rows] == [name for name in fitting for _ in range(2)]
    assert all(row.nfe > 0 for row in rows)


def test_a_sampler_that_does_not_fit_is_refused_with_the_configuration():
    with pytest.raises(PairingError) as error:
        params(process={"name": "uniform"}, samplers=[{"name": "plug_in"}, {"name": "first_hitting"}])
    fits = [name for name in SAMPLERS if issubclass(PROCESSES["uniform"], SAMPLERS[name].requires)]
    assert str(error.value).startswith(
        f"sampler 'first_hitting' does not fit process 'uniform'; samplers that fit 'uniform': {', '.join(fits)}; "
        "processes that fit 'first_hitting': "
    )
    assert "\n" not in str(error.value)


def test_one_batch_size_is_measured_once_and_a_shifted_model_gets_its_first_token(one_process):
    (row,) = bench_infer(params({"shift": 1}, generation={"steps": 2, "batch_size": 1}, repeats=1)).rows
    assert (row.contender, row.batch, row.length) == ("ancestral", 1, 7)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FlowLMError, match="nowhere"):
        bench_infer(params(checkpoint=str(tmp_path / "nowhere")))
