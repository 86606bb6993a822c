"""The exact head against the enumeration of ``predictive``, and on a layout that shows clean columns."""

import pytest
import torch

from diffusionlm.oracle import ExactHead, random_joint
from diffusionlm.oracle.joint import predictive
from diffusionlm.process import PROCESSES, Layout, Vocabulary

JOINT = random_joint(3, 3, seed=4)
STATES = torch.cartesian_prod(*[torch.arange(4)] * 3)


@pytest.mark.parametrize("kind", ["posterior", "leave_one_out"])
def test_it_is_the_enumerated_predictive(kind):
    process = PROCESSES.build(PROCESSES["mixture"].Params(), Vocabulary.after(3))
    t = torch.full(STATES.shape, 0.4, dtype=torch.float64)
    rows = torch.arange(STATES.numel())
    logits = ExactHead(JOINT, process, kind).predict(STATES, t, rows)
    expected = predictive(JOINT, process.evidence(STATES, t), kind).reshape(-1, 3)
    assert torch.allclose(logits.exp(), expected, atol=1e-12)


def test_clean_columns_of_earlier_blocks_are_seen_and_later_ones_are_not():
    """Blocks of one token with everything masked: the query at i knows x_0 … x_{i−1} exactly."""
    process = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(3))
    x = JOINT.sequences()
    tokens = torch.cat([torch.full_like(x, 3), x], 1)
    layout = Layout(blocks=torch.arange(3).repeat(2).expand(len(x), 6), clean=(torch.arange(6) >= 3).expand(len(x), 6))
    t = torch.zeros(tokens.shape, dtype=torch.float64)
    p = ExactHead(JOINT, process, "posterior")(tokens, t, layout).reshape(len(x), 6, 3)[:, :3].exp()
    nll = -p.gather(-1, x[..., None]).squeeze(-1).log().sum(1)
    assert torch.allclose(nll, -JOINT.flat().log(), atol=1e-12)


def test_a_visible_token_at_time_zero_is_clean():
    process = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(3))
    z, t = torch.tensor([[1, 3, 3]]), torch.zeros(1, 3, dtype=torch.float64)
    assert process.evidence(z, t)[0].tolist() == [[0.0, 1.0, 0.0], [1.0] * 3, [1.0] * 3]
