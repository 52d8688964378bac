"""Trains the embedded core from scratch: stages of rows, on CPU or one GPU, resumable at any step.

A run's folder holds state.pt (model, optimiser, step), log.jsonl, and at the end the checkpoint in Hugging Face form.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from app.cores.profile import TINY
from app.cores.profiles import HERMES_RESPONSE
from app.train.mixture import Mixture
from app.train.rows import Row


@dataclass(frozen=True, slots=True)
class Stage:
    """`steps` steps of `rows` rows."""

    name: str
    steps: int
    rows: int
    shares: Mapping[str, float]


def build_model(tokenizer: PreTrainedTokenizerBase, shape: Mapping[str, Any]) -> Qwen3ForCausalLM:
    """A fresh decoder that finds copying easy: W_O = W_V^T, a tenth of the identity together, and W_Q = W_K."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            torch.nn.init.orthogonal_(attention.v_proj.weight, gain=math.sqrt(0.1))
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
    return model


def batch(rows: Sequence[Row], pad: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, both [rows, longest], padded on the right with weight 0 to one of few lengths."""
    longest = -(-max(len(row.ids) for row in rows) // 32) * 32  # kernels are compiled and kept per length
    ids = torch.full((len(rows), longest), pad)
    weights = torch.zeros(len(rows), longest)
    for n, row in enumerate(rows):
        ids[n, : len(row.ids)] = torch.tensor(row.ids)
        weights[n, : len(row.ids)] = torch.tensor(row.weights)
    return ids.to(device), weights.to(device)


def weighted_loss(model: Qwen3ForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the tokens that the core writes, by their weights. Logits only where they count."""
    hidden = model.model(ids[:, :-1]).last_hidden_state
    wanted = weights[:, 1:] > 0
    logits = model.lm_head(hidden[wanted]).float()
    losses = functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
    kept = weights[:, 1:][wanted]
    return (losses * kept).sum() / kept.sum()


def rate(step: int, total: int, config: Mapping[str, Any]) -> float:
    """Linear warm-up, a plateau, and a linear fall to a twentieth over the last `cooldown` of the run."""
    left = (total - step) / max(total * config["cooldown"], 1)
    return float(config["learning_rate"] * min(1.0, (step + 1) / config["warmup_steps"], max(left, 0.05)))


class Run:
    """One training run in one folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, device: str):
        self.folder, self.config, self.tokenizer, self.device = folder, config, tokenizer, device
        torch.manual_seed(config["seed"])
        self.model = build_model(tokenizer, config["model"])
        torch.nn.Module.to(self.model, device)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": config["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._restore()

    def train(self, mixture: Mixture) -> None:
        """Run every stage from where the last run stopped, then write the checkpoint."""
        stages = [Stage(**stage) for stage in self.config["stages"]]
        total = sum(stage.steps for stage in stages)
        saved = time.monotonic()
        done = 0
        for stage in stages:
            done += stage.steps
            while self.step < done:
                self._one_step(mixture, stage, total)
                if time.monotonic() - saved > self.config["checkpoint_seconds"]:
                    self._save()
                    saved = time.monotonic()
        self._save()
        self.export(self.folder / "checkpoint")

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

    def _one_step(self, mixture: Mixture, stage: Stage, total: int) -> None:
        started = time.monotonic()
        rows = mixture.draw(self.config["seed"], self.step, stage.rows, stage.shares)
        ids, weights = batch(rows, int(self.tokenizer.pad_token_id), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, total, self.config)
        with torch.autocast(self.device, torch.bfloat16):
            loss = weighted_loss(self.model, ids, weights)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(len(row.ids) for row in rows)
        self.seconds += time.monotonic() - started
        if self.step % 50 == 0:
            self._report(stage, loss.item(), total)

    def _report(self, stage: Stage, loss: float, total: int) -> None:
        left = self.seconds / self.step * (total - self.step) / 60
        line = {"step": self.step, "stage": stage.name, "loss": round(loss, 4), "tokens": self.tokens}
        line |= {"tokens_per_second": round(self.tokens / self.seconds), "minutes_left": round(left, 1)}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        state |= {"tokens": self.tokens, "seconds": self.seconds}
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def _restore(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
