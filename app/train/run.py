"""A training run: stages of steps on CPU or one GPU, resumable at any step after a kill.

The model computes in bf16; its weights are kept in fp32 beside it, where the optimiser moves them. A step's rows go
through in parts of like length, which keeps the padding small and the activations near the cores.

A run's folder holds state.pt (model, optimiser, step) and log.jsonl. What is drawn in a step depends on the seed and
the step alone, so a run that resumes sees what it would have seen.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass(frozen=True, slots=True)
class Stage:
    """`steps` steps of `rows` rows, drawn by the shares of their kinds."""

    name: str
    steps: int
    rows: int
    shares: Mapping[str, float]


class Task(Protocol):
    """What is trained, and on what."""

    @property
    def model(self) -> torch.nn.Module: ...

    def losses(self, stage: Stage, seed: int, step: int) -> Iterator[tuple[torch.Tensor, int]]:
        """The loss of one step's rows in parts that add up to it, and how many tokens each has."""


def padded(length: int) -> int:
    """One of few lengths: kernels are compiled and kept for each."""
    return -(-length // 16) * 16


def parts(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """The rows of a step by their numbers, in parts of like length that hold `tokens` at most, padding included."""
    split: list[list[int]] = [[]]
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if split[-1] and padded(lengths[row]) * (len(split[-1]) + 1) > tokens:
            split.append([])
        split[-1].append(row)
    return split


def rate(step: int, total: int, config: Mapping[str, Any]) -> float:
    """Linear warm-up, a plateau, and a linear fall to a twentieth over the last `cooldown` of the run."""
    left = (total - step) / max(total * config["cooldown"], 1)
    return float(config["learning_rate"] * min(1.0, (step + 1) / config["warmup_steps"], max(left, 0.05)))


class Run:
    """One training run in one folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], task: Task, device: str) -> None:
        self.folder, self.config, self.task, self.device = folder, config, task, device
        self.stages = [Stage(**stage) for stage in config["stages"]]
        torch.nn.Module.to(task.model, device, torch.float32)
        self.weights = {name: p.detach().clone() for name, p in task.model.named_parameters()}
        torch.nn.Module.to(task.model, torch.bfloat16)
        groups = [
            {"params": [w for w in self.weights.values() if w.ndim > 1], "weight_decay": config["weight_decay"]},
            {"params": [w for w in self.weights.values() if w.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._restore()

    def train(self) -> None:
        """Run what is left of the stages; leaves the model in fp32."""
        total = sum(stage.steps for stage in self.stages)
        saved = time.monotonic()
        done = 0
        for stage in self.stages:
            done += stage.steps
            while self.step < done:
                self._one_step(stage, total)
                if time.monotonic() - saved > self.config["checkpoint_seconds"]:
                    self._save()
                    saved = time.monotonic()
        self._save()
        torch.nn.Module.to(self.task.model, torch.float32)
        self._load()

    def _one_step(self, stage: Stage, total: int) -> None:
        started = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, total, self.config)
        total_loss = 0.0
        for loss, tokens in self.task.losses(stage, self.config["seed"], self.step):
            torch.autograd.backward(loss)
            total_loss += loss.item()
            self.tokens += tokens
        self._move()
        self.step += 1
        self.seconds += time.monotonic() - started
        if self.step % 50 == 0:
            self._report(stage, total_loss, total)

    def _move(self) -> None:
        """One step of the optimiser, from the model's gradients to its weights."""
        model = dict(self.task.model.named_parameters())
        for name, weight in self.weights.items():
            gradient, model[name].grad = model[name].grad, None
            weight.grad = None if gradient is None else gradient.float()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimizer.step()
        self._load()

    @torch.no_grad()
    def _load(self) -> None:
        for name, parameter in self.task.model.named_parameters():
            parameter.copy_(self.weights[name])

    def _report(self, stage: Stage, loss: float, total: int) -> None:
        left = self.seconds / self.step * (total - self.step) / 60
        line = {"step": self.step, "stage": stage.name, "loss": round(loss, 4), "tokens": self.tokens}
        line |= {"tokens_per_second": round(self.tokens / self.seconds), "minutes_left": round(left, 1)}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def _save(self) -> None:
        state = {"model": self.weights, "optimizer": self.optimizer.state_dict(), "step": self.step}
        state |= {"tokens": self.tokens, "seconds": self.seconds}
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def _restore(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location=self.device)
        for name, weight in self.weights.items():
            weight.copy_(state["model"][name])
        self._load()
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
