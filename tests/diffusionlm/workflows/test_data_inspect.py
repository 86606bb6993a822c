"""``flowlm data inspect``: its rows and their noise are those of a training step, whatever they are asked of."""

import errno
import sys

import numpy as np
import pytest
import torch

from config.load import load
from config.overrides import parse
from diffusionlm.data.stream import stream
from diffusionlm.errors import ConfigError, DataError
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows import corpus, data_inspect
from diffusionlm.workflows.assemble import build_parts
from diffusionlm.workflows.params import DataInspectParams
from diffusionlm.workflows.resolved import to_toml
from diffusionlm.workflows.train import train
from tests.diffusionlm.data.doubles import ListDocuments, texts
from tests.diffusionlm.workflows.runs import configuration, write_text


def inspected(run, tmp_path, *settings):
    """Return the rows for the configuration of a training run, as ``--config`` reads it."""
    path = tmp_path / "run.toml"
    path.write_text(to_toml(run), encoding="utf-8")
    params = load(DataInspectParams, str(path), [parse(setting) for setting in settings])
    return data_inspect.data_inspect(params)


def prepared_steps(run, steps):
    """Return the batches of a run's first steps and what its training step makes of them."""
    text = corpus.open_text(
        run.data, run.tokenizer, run.model.context_length, run.run.seed, lambda line: None, None, lambda tokenizer: None
    )
    parts = build_parts(run, text.tokenizer.vocab_size, torch.device("cpu"))
    step = TrainStep(
        parts.model, parts.parameters, parts.objective, parts.optimizer, None,
        clip_norm=None, seed=run.run.seed, device=torch.device("cpu"),
    )  # fmt: skip
    size = run.training.batch_size
    with stream(text.loader, None, size, size, prefetch=0) as batches:
        for number in range(steps):
            (batch,) = next(batches)
            yield batch, step._prepare([batch], number)[0]


@pytest.mark.parametrize("packing", ["packed", "one_per_row"])
@pytest.mark.parametrize("process", ["mask", "uniform", "block"])
def test_rows_and_noise_are_those_of_the_training_step(process, packing, tmp_path):
    run = configuration(
        write_text(tmp_path), tmp_path / "run", data={"packing": packing}, process={"name": process},
        objective={"masking": {"prefix": 0.4, "suffix": 0.4}} if process != "block" else {},
    )  # fmt: skip
    size = run.training.batch_size
    found = inspected(run, tmp_path, "time=drawn", "row=1", f"rows={3 * size - 1}", "statistics=false")
    assert [row.number for row in found.rows] == list(range(1, 3 * size))
    rows, seen = iter(found.rows), set()
    for number, (batch, prepared) in enumerate(prepared_steps(run, 3)):
        corrupted = prepared.corrupted
        scored = torch.zeros(batch.x_1.numel(), dtype=torch.bool)
        scored[prepared.passes[0].rows.index[: prepared.passes[0].scored]] = True
        for place in range(0 if number else 1, size):
            row, clean = next(rows), batch.segments[place] > 0
            kinds = [kind for piece in row.pieces for kind in piece.kinds]
            seen |= set(kinds)
            assert [id for piece in row.pieces for id in piece.ids] == batch.x_1[place][clean].tolist()
            assert row.padding == int((~clean).sum())
            noisy = [id for piece in row.pieces for id in piece.noised.ids]
            assert noisy == corrupted.x_t[place][clean].tolist()
            assert [kind == "scored" for kind in kinds] == scored.view(batch.x_1.shape)[place][clean].tolist()
            assert [kind == "left out" for kind in kinds] == (corrupted.segments[place][clean] == 0).tolist()
            times = {time for piece in row.pieces if piece.noised.times for time in piece.noised.times}
            assert times <= set(corrupted.t[place].tolist())
    # Of noise that looks like text every token is scored; of masks the masked ones.
    modes = set() if process == "block" else {"given", "left out"}
    assert seen == {"scored"} | ({"kept"} if process != "uniform" else set()) | modes


def test_one_time_for_every_position(tmp_path):
    run = configuration(write_text(tmp_path), tmp_path / "run")
    found = inspected(run, tmp_path, "time=0.25", "rows=20", "statistics=false")
    assert {piece.noised.times for row in found.rows for piece in row.pieces} == {(0.25, 0.25)}
    noised = [noise for row in found.rows for piece in row.pieces for noise in piece.noised.noised]
    assert 0.65 < np.mean(noised) < 0.85


@pytest.mark.parametrize("process", ["logit", "ar"])
def test_states_that_are_no_noisy_text_are_told_in_words(process, tmp_path):
    run = configuration(write_text(tmp_path), tmp_path / "run", process={"name": process})
    found = inspected(run, tmp_path, "time=drawn", "statistics=false")
    assert all(piece.noised.ids is None for piece in found.rows[0].pieces)
    assert {"logit": "points of the simplex", "ar": "the clean tokens before each"}[process] in found.report()


def test_a_checkpoint_names_its_own_rows_and_noise(tmp_path):
    run = configuration(
        write_text(tmp_path), tmp_path / "run", process={"name": "uniform"}, training={"steps": 2}, run={"seed": 11}
    )
    train(run)
    wanted = inspected(run, tmp_path, "time=drawn", "row=5", "statistics=false")
    params = DataInspectParams(checkpoint=str(tmp_path / "run"), time="drawn", row=5, statistics=False)  # pyright: ignore[reportCallIssue]
    found = data_inspect.data_inspect(params)
    assert found.rows == wanted.rows
    assert found.text == wanted.text


def test_held_out_rows_are_all_there_is_and_no_more(tmp_path):
    run = configuration(write_text(tmp_path), tmp_path / "run")
    text = corpus.open_text(run.data, run.tokenizer, 32, 0, lambda line: None, None, lambda tokenizer: None)
    assert text.held_out is not None
    rows = -(-text.held_out.store.n_tokens // 32)
    found = inspected(run, tmp_path, "side=validation", f"rows={rows}")
    ids = [id for row in found.rows for piece in row.pieces for id in piece.ids]
    assert ids == np.concatenate(
        [text.held_out.store.document(index) for index in range(text.held_out.store.n_documents)]
    ).tolist()  # fmt: skip
    assert found.statistics is not None
    assert found.statistics.n_tokens == len(ids)
    with pytest.raises(DataError, match=f"row {rows} is not there: .* has {rows} rows"):
        inspected(run, tmp_path, "side=validation", f"row={rows}")


def test_a_streamed_text_is_read_from_its_beginning(tmp_path, monkeypatch):
    documents = ListDocuments(texts([5, 30, 11, 60, 8]), streaming=True)
    monkeypatch.setattr(data_inspect, "open_corpus", lambda data: corpus.Corpus(documents, None))
    params = DataInspectParams.model_validate(
        {"tokenizer": {"name": "byte"}, "context_length": 16, "row": 2, "rows": 2, "documents": 3}
    )
    found = data_inspect.data_inspect(params)
    whole = data_inspect.data_inspect(params.model_copy(update={"row": 0, "rows": 4}))
    assert found.rows == whole.rows[2:]
    assert found.statistics is not None
    assert found.statistics.n_documents == 3


def test_a_mixture_shows_every_source(tmp_path):
    first, second = write_text(tmp_path), tmp_path / "second.txt"
    second.write_text("<|endoftext|>".join(f"{i} 0123456789" * 4 for i in range(40)))
    parts = [{"source": {"name": "text", "path": str(path)}, "weight": 1.0} for path in (first, second)]
    run = configuration(first, tmp_path / "run")
    run = type(run).model_validate(
        {**run.model_dump(), "data": {"mixture": parts, "validation_fraction": 0.2, "cache": "none"}}
    )
    found = inspected(run, tmp_path, "rows=8", "statistics=false")
    digits = [all(chr(id) in "0123456789 Ā" for id in row.pieces[0].ids if id < 256) for row in found.rows]
    assert set(digits) == {True, False}


def test_what_a_training_run_refuses_is_refused(tmp_path):
    path = tmp_path / "run.toml"
    for line, said in (
        ("[training]\nsteps = 3\n[model]\ncontxt_length = 8\n", "model.contxt_length: unknown key"),
        ("[training]\nsteps = 3\n[process]\nname = 'uniform'\n[objective]\nname = 'llama'\n", "unknown name 'llama'"),
        ("[training]\nsteps = 3\n[process]\nname = 'logit'\n[objective]\nname = 'nelbo'\n", "needs states that are"),
        ("[training]\nsteps = 3\n[modle]\nwidth = 8\n", "modle: unknown section"),
        ("time = 'dran'\n", "'dran' is not allowed; it must be a number"),
        ("time = 0.5\nside = 'validation'\n", "held-out rows never get"),
        ("plot = 'a.bmp'\n", "no kind of picture"),
    ):
        path.write_text(line)
        with pytest.raises(ConfigError, match=said):
            load(DataInspectParams, str(path))


def test_a_run_without_a_tokenizer_table_has_the_one_that_training_takes():
    params = load(DataInspectParams, "mdlm")
    assert params.tokenizer.name == "bpe"
    assert params.process.name == "mask"
    assert load(DataInspectParams).tokenizer is None


def test_a_picture_needs_matplotlib_and_a_folder(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    text = write_text(tmp_path)
    tables = {"data": {"source": {"name": "text", "path": str(text)}, "validation_fraction": 0.0}, "rows": 0}
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        plot = tmp_path / f"a{ending}"
        found = data_inspect.data_inspect(
            DataInspectParams.model_validate({**tables, "plot": str(plot), "statistics": False})
        )
        assert plot.read_bytes().startswith(magic)
        assert "documents" not in found.report()

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(data_inspect.data_plots, "write_atomically", full)
        with pytest.raises(DataError, match=r"cannot write plot '.*c.png': No space left on device; mend that"):
            data_inspect.data_inspect(DataInspectParams.model_validate({**tables, "plot": str(tmp_path / "c.png")}))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'flowlm\[plots\]'"):
        data_inspect.data_inspect(DataInspectParams.model_validate({**tables, "plot": str(tmp_path / "b.png")}))
    assert not (tmp_path / "b.png").exists()
