"""What the tests of the engine ask it, and the answers of transformers."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import cast

import torch
from transformers import PreTrainedModel

from app.engine.local import LocalEngine
from app.engine.request import Request
from app.engine.sampler import Sampler
from app.engine.types import Sampling, Token, Whose
from tests.engine.checkpoints import VOCAB


def ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, VOCAB - 4, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


async def collect(engine: LocalEngine, prompt: Sequence[int], sampling: Sampling, key: str = "") -> list[Token]:
    return [token async for token in engine.generate(prompt, sampling, whose=Whose(key, key))]


def numbers(tokens: Sequence[Token]) -> list[int]:
    return [token.id for token in tokens]


def greedy(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    out = model.generate(  # type: ignore[operator]
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    found: list[int] = out[0, len(prompt) :].tolist()
    return found


async def until_idle(engine: LocalEngine) -> None:
    def watch() -> None:
        end = time.monotonic() + 5
        while (engine.usage().running or engine.usage().waiting) and time.monotonic() < end:
            time.sleep(0.001)

    await asyncio.to_thread(watch)
    assert (engine.usage().running, engine.usage().waiting) == (0, 0)
    assert engine.usage().free_slots == engine.usage().slots


def request(prompt: Sequence[int], key: str = "", max_tokens: int = 9, begun: bool = False) -> Request:
    """One to look at outside an engine: nobody waits for what it says."""
    nobody = cast(asyncio.AbstractEventLoop, None)
    return Request(
        list(prompt), len(prompt), Whose(key, key, begun), Sampler(Sampling(max_tokens=max_tokens), VOCAB), nobody
    )


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A mask that holds the engine's thread until opened: the way to look at a moment in between."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, generated: Sequence[int]) -> None:
        self.reached.set()
        self.open.wait(5)
