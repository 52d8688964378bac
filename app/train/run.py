"""A training run: stages of steps on CPU or one GPU, resumable at any step after a kill.

A run's folder holds state.pt (model, optimiser, step) and log.jsonl. What is drawn in a step depends on the seed and
the step alone, so a run that resumes sees what it would have seen.
"""

import json
import time
from collections.abc import Mapping
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

    def loss(self, stage: Stage, seed: int, step: int) -> tuple[torch.Tensor, int]:
        """The loss of one step's rows, and how many tokens they have."""


def rate(step: int, total: int, config: Mapping[str, Any]) -> float:
    """Linear warm-up, a plateau, and a linear fall to a twentieth over the last `cooldown` of the run."""
    left = (total - step) / max(total * config["cooldown"], 1)
    return float(config["learning_rate"] * min(1.0, (step + 1) / config["warmup_steps"], max(left, 0.05)))


class Run:
    """One training run in one folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], task: Task, device: str) -> None:
        self.folder, self.config, self.task, self.device = folder, config, task, device
        self.stages = [Stage(**stage) for stage in config["stages"]]
        torch.nn.Module.to(task.model, device)
        parameters = list(task.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config["weight_decay"]},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._restore()

    def train(self) -> None:
        """Run what is left of the stages."""
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

    def _one_step(self, stage: Stage, total: int) -> None:
        started = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, total, self.config)
        with torch.autocast(self.device, torch.bfloat16):
            loss, tokens = self.task.loss(stage, self.config["seed"], self.step)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += tokens
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
        state = {"model": self.task.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        state |= {"tokens": self.tokens, "seconds": self.seconds}
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def _restore(self) -> None:
        state = torch.load(self.folder / "state.pt", map_location=self.device)
        self.task.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
