"""The two contenders of the training bench: our step, and the same network in transformers with dense logits.

Both do one optimizer update on the same number of fresh random tokens: corrupt, forward, backward, clip the gradient
norm to 1, AdamW. Ours is ``diffusionlm.training.step.TrainStep`` as ``flowlm train`` runs it. The rival is what
frameworks around transformers run: ``Qwen3Model`` made bidirectional, PyTorch's attention, logits over the vocabulary
and the mask token at every position, the loss of LLaDA (https://arxiv.org/abs/2502.09992), ``torch.optim.AdamW`` and
autocast. Where our network has no QK-norm, the rival's is taken out, so that the networks are equal weight for weight
but for the mask token's row in the head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from benchmarking.measure import step_flops
from benchmarking.worker import Contender, Facts
from diffusionlm.data.batch import Batch
from diffusionlm.errors import ConfigError
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.optim import build_optimizer
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.rng import key
from diffusionlm.runlog.resident import resident_mib
from diffusionlm.training.step import TrainStep
from diffusionlm.workflows.params import BenchTrainParams
from diffusionlm.workflows.runtime import DTYPES, keep_memory

CLIP_NORM = 1.0
LLADA_EPSILON = 1e-3
START_TOLERANCE = 0.1
"""How far, relative to ln V, the first cross-entropy may be from that of a network that knows nothing."""


def random_tokens(params: BenchTrainParams, round_: int) -> torch.Tensor:
    """Return the (batch, context) int64 tokens of a round, the same for every contender."""
    generator = torch.Generator().manual_seed(key(params.seed, f"bench/{round_}") >> 1)
    return torch.randint(params.vocabulary, (params.batch_size, params.model.context_length), generator=generator)


def random_batch(params: BenchTrainParams, round_: int) -> Batch:
    """Return the tokens of a round as a batch: every row one whole document."""
    x_1 = random_tokens(params, round_)
    rows, length = x_1.shape
    return Batch(
        x_1=x_1,
        segments=torch.ones_like(x_1),
        positions=torch.arange(length).expand_as(x_1).contiguous(),
        document=(torch.arange(rows)[:, None] + round_ * rows).expand_as(x_1).contiguous(),
        window=torch.zeros_like(x_1),
        frozen=torch.zeros_like(x_1, dtype=torch.bool),
    )


def check_start(loss: float, vocabulary: int, who: str) -> None:
    """Assert that a fresh network predicts nothing: a contender that learns another task would show here."""
    expected = math.log(vocabulary)
    assert abs(loss - expected) < START_TOLERANCE * expected, f"{who} starts at {loss} nats, ln V = {expected}"


class FlowLM(Contender):
    """Our step."""

    def __init__(self, params: BenchTrainParams, device: str) -> None:
        self.params, self.device = params, torch.device(device)
        keep_memory()
        vocabulary = Vocabulary.after(params.vocabulary, None)
        self.process = PROCESSES.build(params.process, vocabulary)
        self.objective = OBJECTIVES.build(params.objective, self.process)
        self.model = build_model(params.model, vocabulary, params.seed).to(self.device)
        self.model.compute_dtype = DTYPES[params.precision]
        parameters = dict(self.model.named_parameters())
        self.size = sum(parameter.numel() for parameter in parameters.values())
        self.step = TrainStep(
            torch.compile(self.model, dynamic=True) if params.compile else self.model,  # type: ignore[arg-type]
            parameters,
            self.objective,
            build_optimizer(params.optimizer, parameters, self.model.parameter_roles()),
            None,
            clip_norm=CLIP_NORM,
            seed=params.seed,
            device=self.device,
        )
        self.round, self.batch = 0, random_batch(params, 0)
        with torch.no_grad():
            self.first = float(loss_sum(self.model, self._prepared(0)).values.mean())
        check_start(self.first, params.vocabulary, "flowlm")
        self.model.train()

    def prepare(self, round_: int) -> None:
        self.round, self.batch = round_, random_batch(self.params, round_)

    def run(self) -> None:
        self.last = self.step([self.batch], self.round, 1.0)

    def facts(self) -> Facts:
        """Return its size, losses and FLOPs; corruption is a function of the round, so scored rows are counted anew."""
        rounds = range(self.params.warmup, self.params.warmup + self.params.repeats)
        rows = sum(len(one.columns) for round_ in rounds for one in self._prepared(round_).passes) / len(rounds)
        shape, tokens = self.params.model, self.batch.x_1.numel()
        return {
            "parameters": self.size,
            "first_loss": self.first,
            "last_loss": float(self.last.loss),
            "scored": rows / tokens,
            "flops": step_flops(shape, self.params.vocabulary, tokens, rows),
        }

    def _prepared(self, round_: int) -> Any:
        batch = random_batch(self.params, round_).to(self.device)
        rows = torch.arange(len(batch))
        return prepare(self.objective, batch, key(self.params.seed, "training"), round_, rows, len(batch))


class Rival(Contender):
    """The same network in transformers, trained with dense logits."""

    def __init__(self, params: BenchTrainParams, device: str) -> None:
        self.params, self.device = params, torch.device(device)
        self.mask_id = params.vocabulary
        check_rival(params.model)
        self.base_mb = resident_mib()  # without the libraries
        torch.manual_seed(params.seed)
        self.backbone = qwen3(params.model, params.vocabulary + 1).to(self.device)
        self.head = nn.Linear(params.model.width, params.vocabulary + 1, bias=False).to(self.device)
        nn.init.normal_(self.head.weight, std=self.backbone.config.initializer_range)
        if params.model.tied:
            self.head.weight = self.backbone.embed_tokens.weight
        parameters = list({id(p): p for p in (*self.backbone.parameters(), *self.head.parameters())}.values())
        self.parameters, self.size = parameters, sum(parameter.numel() for parameter in parameters)
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        self.network = torch.compile(self.backbone, dynamic=True) if params.compile else self.backbone
        self.backbone.train()
        self.x_1 = random_tokens(params, 0).to(self.device)
        with torch.no_grad():
            _, nll = self._loss()
        self.first = float(nll.mean())
        check_start(self.first, params.vocabulary, "the rival")

    def prepare(self, round_: int) -> None:
        self.x_1 = random_tokens(self.params, round_).to(self.device)

    def run(self) -> None:
        self.last, _ = self._loss()
        self.last.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def facts(self) -> Facts:
        tokens = self.x_1.numel()
        return {
            "parameters": self.size,
            "first_loss": self.first,
            "last_loss": float(self.last.detach()),
            "scored": 1.0,
            "flops": step_flops(self.params.model, self.params.vocabulary + 1, tokens, tokens),
        }

    def _loss(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return LLaDA's loss Σ_masked CE/p / (B·L) and the (N,) cross-entropies of the masked tokens."""
        x_1 = self.x_1
        t = torch.rand(len(x_1), 1, device=self.device)
        p_mask = ((1 - LLADA_EPSILON) * t + LLADA_EPSILON).expand(x_1.shape)
        masked = torch.rand(x_1.shape, device=self.device) < p_mask
        x_t = torch.where(masked, self.mask_id, x_1)
        bf16 = self.params.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            # The mask given as a table is taken as it is: nothing is hidden from anybody.
            hidden = self.network(input_ids=x_t, attention_mask={"full_attention": None}, use_cache=False)
            logits = self.head(hidden.last_hidden_state)
        nll = nn.functional.cross_entropy(logits[masked].float(), x_1[masked], reduction="none")
        return (nll / p_mask[masked]).sum() / x_1.numel(), nll


def check_rival(shape: TransformerParams) -> None:
    """Check that the rival can be had in a shape, and load what it needs.

    Raises:
        ConfigError: transformers is not installed, or Qwen3 cannot have this shape.
    """
    try:
        from transformers import Qwen3Config, Qwen3Model  # noqa: F401
    except ImportError:
        raise ConfigError(
            "the rival needs transformers, which is not installed; install the dev group (uv sync) or set rival=false"
        ) from None
    unlike = [
        name
        for name, differs in {
            "activation": shape.activation != "swiglu",
            "qkv_bias": shape.qkv_bias,
            "dropout": shape.dropout > 0,
            "time_conditioning": shape.time_conditioning,
            "causal": shape.causal,
            "shift": shape.shift != 0,
        }.items()
        if differs
    ]
    if unlike:
        raise ConfigError(
            f"the rival is a plain bidirectional SwiGLU network and cannot have model.{', model.'.join(unlike)}; "
            "leave them at their defaults or set rival=false"
        )


def qwen3(shape: TransformerParams, rows: int) -> Any:
    """Return a fresh, bidirectional ``transformers.Qwen3Model`` of a shape that ``check_rival`` allows."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=rows,
        hidden_size=shape.width,
        intermediate_size=shape.resolved_hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.resolved_kv_heads,
        head_dim=shape.resolved_head_width,
        max_position_embeddings=shape.context_length,
        rms_norm_eps=shape.norm_eps,
        pad_token_id=None,
    )
    config._attn_implementation = "sdpa"
    model = Qwen3Model(config)
    for layer in model.layers:
        attention: Any = layer.self_attn
        attention.is_causal = False
        if not shape.qk_norm:
            attention.q_norm = attention.k_norm = nn.Identity()
    _assert_bidirectional(model, rows)
    return model


def _assert_bidirectional(model: Any, rows: int) -> None:
    """Assert that the first state sees the last token."""
    ids = torch.zeros(1, 4, dtype=torch.int64)
    with torch.no_grad():
        states = []
        for last in (1, rows - 1):
            ids[0, -1] = last
            made = model(input_ids=ids, attention_mask={"full_attention": None}, use_cache=False)
            states.append(made.last_hidden_state[0, 0])
    assert not torch.equal(*states), "the rival's attention is causal: its first state does not see the last token"


def build_flowlm(params: BenchTrainParams, device: str) -> Contender:
    """Return our step as a contender."""
    return FlowLM(params, device)


def build_rival(params: BenchTrainParams, device: str) -> Contender:
    """Return the rival's step as a contender."""
    return Rival(params, device)
