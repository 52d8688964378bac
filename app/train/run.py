"""A training run: stages of steps on CPU or one GPU, resumable at any step after a kill.

The model computes in bf16 where the machine has instructions for it; its weights are kept in fp32 beside it, where the
optimiser moves them. A step's rows go through in parts of like length, which keeps the padding small and the
activations near the cores.

A run's folder holds state.pt (model, optimiser, step), log.jsonl and curves.svg. What is drawn in a step depends on the
seed and the step alone, so a run that resumes sees what it would have seen, and processes may draw ahead of the model.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel

from app.train import curves
from index.embed import multiplies_bf16


@dataclass(frozen=True, slots=True)
class Stage:
    """`steps` steps of `rows` rows, drawn by the shares of their kinds."""

    name: str
    steps: int
    rows: int
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a step that go through the model at once. `share` of the step's loss is theirs."""

    inputs: tuple[torch.Tensor, ...]
    share: float
    tokens: int


class Task(Protocol):
    """What is trained, and on what."""

    @property
    def model(self) -> PreTrainedModel: ...

    def parts(self, stage: Stage, seed: int, step: int) -> list[Part]:
        """One step's rows. Does not touch the model: it may run in another process."""
        ...

    def loss(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Of a part's inputs, on the model's device."""
        ...


def padded(length: int) -> int:
    """One of few lengths: kernels are compiled and kept for each."""
    return -(-length // 16) * 16


def split(lengths: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """The groups of a step by their numbers, in parts of like length that hold `tokens` at most, padding included.

    `lengths` are those of each group's rows. A group stays together, also where it holds more than that.
    """
    longest = [max(group) for group in lengths]
    parts, rows = [list[int]()], 0
    for group in sorted(range(len(lengths)), key=longest.__getitem__):
        rows += len(lengths[group])
        if parts[-1] and padded(longest[group]) * rows > tokens:
            parts.append([])
            rows = len(lengths[group])
        parts[-1].append(group)
    return parts


def rate(step: int, total: int, config: Mapping[str, Any]) -> float:
    """Linear warm-up, a plateau, and a linear fall to a twentieth over the last `cooldown` of the run."""
    left = (total - step) / max(total * config["cooldown"], 1)
    return float(config["learning_rate"] * min(1.0, (step + 1) / config["warmup_steps"], max(left, 0.05)))


class Steps(Dataset[tuple[Stage, list[Part]]]):
    """What each step of the stages is trained on."""

    def __init__(self, task: Task, stages: Sequence[Stage], seed: int) -> None:
        self.task, self.seed = task, seed
        self.stages = [stage for stage in stages for _ in range(stage.steps)]

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, step: int) -> tuple[Stage, list[Part]]:
        return self.stages[step], self.task.parts(self.stages[step], self.seed, step)


class Run:
    """One training run in one folder. On a GPU the loss is compiled. `workers` processes draw rows ahead; 0: none."""

    def __init__(self, folder: Path, config: Mapping[str, Any], task: Task, device: str, workers: int = 0) -> None:
        self.folder, self.config, self.task, self.device, self.workers = folder, config, task, device, workers
        self.steps = Steps(task, [Stage(**stage) for stage in config["stages"]], config["seed"])
        self.loss = task.loss
        if device.startswith("cuda"):
            task.model.set_attn_implementation("sdpa")
            self.loss = torch.compile(task.loss, dynamic=True)
        torch.nn.Module.to(task.model, device, torch.float32)
        self.weights = {name: p.detach().clone() for name, p in task.model.named_parameters()}
        torch.nn.Module.to(task.model, torch.bfloat16 if multiplies_bf16(device) else torch.float32)
        groups = [
            {"params": [w for w in self.weights.values() if w.ndim > 1], "weight_decay": config["weight_decay"]},
            {"params": [w for w in self.weights.values() if w.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.averaged: list[str] = config.get("average", [])
        self.step = 0
        self.last_loss = 0.0
        self.tokens = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._restore()

    def train(self) -> None:
        """Run what is left of the stages; leaves the model in fp32.

        Its weights are the mean of those that the stages named in the config's `average` ended with, if it names any
        (model soups, Wortsman et al. 2022).
        """
        saved = time.monotonic()
        started = saved
        for stage, parts in DataLoader(
            self.steps, batch_size=None, sampler=range(self.step, len(self.steps)), num_workers=self.workers
        ):
            self._one_step(parts)
            if self.step == len(self.steps) or self.steps.stages[self.step].name != stage.name:
                self._ended(stage)
            self.seconds += time.monotonic() - started
            started = time.monotonic()
            if self.step % 50 == 0:
                self._report(stage)
            if started - saved > self.config["checkpoint_seconds"]:
                self._save()
                saved = time.monotonic()
        self._save()
        torch.nn.Module.to(self.task.model, torch.float32)
        self._average()
        self._load()

    def _ended(self, stage: Stage) -> None:
        if stage.name in self.averaged:
            torch.save(self.weights, self.folder / f"{stage.name}.pt")

    @torch.no_grad()
    def _average(self) -> None:
        kept = [torch.load(self.folder / f"{name}.pt", map_location=self.device) for name in self.averaged]
        for name, weight in self.weights.items() if kept else ():
            weight.copy_(sum(weights[name] for weights in kept) / len(kept))

    def _one_step(self, parts: Sequence[Part]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, len(self.steps), self.config)
        self.last_loss = 0.0
        for part in parts:
            loss = part.share * self.loss(*(tensor.to(self.device) for tensor in part.inputs))
            torch.autograd.backward(loss)
            self.last_loss += loss.item()
            self.tokens += part.tokens
        self._move()
        self.step += 1

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

    def _report(self, stage: Stage) -> None:
        left = self.seconds / self.step * (len(self.steps) - self.step) / 60
        line = {"step": self.step, "stage": stage.name, "loss": round(self.last_loss, 4), "tokens": self.tokens}
        line |= {"tokens_per_second": round(self.tokens / self.seconds), "minutes_left": round(left, 1)}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        curves.draw(self.folder / "log.jsonl", self.folder / "curves.svg")
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
