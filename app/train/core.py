"""Trains the embedded core from scratch: the model, its loss on rows of turns, and its checkpoint."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from app.cores.profile import TINY
from app.cores.profiles import HERMES_RESPONSE
from app.train.mixture import Mixture
from app.train.rows import Row
from app.train.run import Part, Stage, padded, split

TOKENS = 2048  # that go through the model at once on a CPU
ATTENTION = "eager"  # torch's fused one takes three times as long backwards on CPUs


def build_model(tokenizer: PreTrainedTokenizerBase, shape: Mapping[str, Any]) -> Qwen3ForCausalLM:
    """A fresh decoder that finds copying easy: W_O = W_V^T, a tenth of the identity together, and W_Q = W_K."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    model: Qwen3ForCausalLM = Qwen3ForCausalLM._from_config(config, attn_implementation=ATTENTION)
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            torch.nn.init.orthogonal_(attention.v_proj.weight, gain=math.sqrt(0.1))
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
    return model


def load_model(checkpoint: Path) -> Qwen3ForCausalLM:
    """An earlier run's decoder, to be trained on."""
    model: Qwen3ForCausalLM = Qwen3ForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation=ATTENTION
    )
    model.train()
    return model


def batch(rows: Sequence[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, both [rows, longest], padded on the right with weight 0 to one of few lengths."""
    longest = padded(max(len(row.ids) for row in rows))
    ids = torch.full((len(rows), longest), pad)
    weights = torch.zeros(len(rows), longest)
    for n, row in enumerate(rows):
        ids[n, : len(row.ids)] = torch.tensor(row.ids)
        weights[n, : len(row.ids)] = torch.tensor(row.weights)
    return ids, weights


def weighted_loss(model: Qwen3ForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the tokens that the core writes, by their weights. Logits only where they count."""
    hidden = model.model(ids[:, :-1]).last_hidden_state.flatten(0, 1)
    counted = weights[:, 1:].flatten()
    written = counted.nonzero()[:, 0]
    # Filled up with the first token, which has no weight: kernels are compiled and kept per length.
    written = functional.pad(written, (0, -len(written) % 128))
    logits = model.lm_head(hidden[written]).float()
    losses = functional.cross_entropy(logits, ids[:, 1:].flatten()[written], reduction="none")
    kept = counted[written]
    return (losses * kept).sum() / kept.sum()


class CoreTask:
    """The loss of a core on drawn rows: a fresh one, or the one whose checkpoint is `start`."""

    def __init__(
        self, mixture: Mixture, config: Mapping[str, Any], start: Path | None = None, tokens: int = TOKENS
    ) -> None:
        torch.manual_seed(config["seed"])
        self.mixture, self.tokens = mixture, tokens
        self.tokenizer = mixture.turns.renderer.tokenizer
        self.model = load_model(start) if start else build_model(self.tokenizer, config["model"])

    def parts(self, stage: Stage, seed: int, step: int) -> list[Part]:
        """Ids and weights."""
        rows = self.mixture.draw(seed, step, stage.rows, stage.shares)
        total = sum(sum(row.weights) for row in rows)
        made = []
        for numbers in split([[len(row.ids)] for row in rows], self.tokens):
            chosen = [rows[n] for n in numbers]
            share = sum(sum(row.weights) for row in chosen) / total
            tokens = sum(len(row.ids) for row in chosen)
            made.append(Part(batch(chosen, int(self.tokenizer.pad_token_id)), share, tokens))
        return made

    def loss(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The weighted cross-entropy."""
        return weighted_loss(self.model, *inputs)

    def export(self, folder: Path) -> None:
        """Weights as bf16 safetensors with config, tokenizer, chat template and response template."""
        model = Qwen3ForCausalLM(self.model.config)
        model.load_state_dict(self.model.state_dict())
        torch.nn.Module.to(model, torch.bfloat16)
        model.config.cogcore_profile = TINY.name
        model.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        self.tokenizer.response_template = dict(HERMES_RESPONSE)
        self.tokenizer.save_pretrained(folder)
