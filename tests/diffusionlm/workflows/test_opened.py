"""A network that was trained on two processes is read as either; what it was not trained on is refused."""

import math

import pytest
import torch

import diffusionlm
from diffusionlm.errors import PairingError
from diffusionlm.process.ar import causal_view
from diffusionlm.process.layout import Layout
from diffusionlm.workflows import train
from tests.diffusionlm.workflows.runs import configuration, write_text


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of a dozen steps with the joint objective."""
    folder = tmp_path_factory.mktemp("joint")
    train.train(configuration(write_text(folder), folder / "run", objective={"name": "joint"}))
    return str(folder / "run")


def test_read_as_autoregression_it_scores_next_tokens(joint: str) -> None:
    model = diffusionlm.load(joint, read_as="ar", device="cpu")
    text = "the flow of noise"
    network, ids = model.opened.model, torch.tensor(model.opened.tokenizer.encode(text))
    with torch.no_grad():
        document = torch.cat((ids, torch.tensor([model.opened.tokenizer.eos_id])))[None]
        view = causal_view(document, Layout(), model.opened.process.vocabulary.mask_id)
        rows = torch.arange(document.shape[1])
        logits = network.logits(network(view.tokens, view.t, view.layout, rows))
    nats = torch.nn.functional.cross_entropy(logits, document[0]).item()
    assert model.score(text).nats_per_token == pytest.approx(nats, rel=1e-5)


def test_and_writes_left_to_right(joint: str) -> None:
    written = diffusionlm.load(joint, read_as="ar", device="cpu").generate("the ", length=6)[0]
    assert written.nfe == len(written.ids) + (written.stopped == "eos")


def test_otherwise_it_is_the_process_that_it_was_trained_with(joint: str) -> None:
    plain, named = diffusionlm.load(joint, device="cpu"), diffusionlm.load(joint, read_as="mask", device="cpu")
    assert plain.score("the flow") == named.score("the flow")
    assert math.isfinite(plain.score("the flow").bits_per_byte)


def test_what_it_was_not_trained_on_is_refused(joint: str) -> None:
    with pytest.raises(PairingError, match=r"read_as = 'block': objective 'joint' .* on process mask and ar, not on"):
        diffusionlm.load(joint, read_as="block", device="cpu")


def test_in_float64_a_batch_changes_no_sample_and_no_score(joint: str) -> None:
    model = diffusionlm.load(joint, device="cpu", precision="fp64")
    prompts = ["the ", "flow of", "", "noise"]
    alone, together = (model.generate(prompts, length=12, samples=5, batch_size=size) for size in (1, 20))
    assert [one.ids for one in alone] == [one.ids for one in together]
    scores = [model.score(prompts[:2], batch_size=size).nats_per_token for size in (1, 2)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-13)
