"""Who is compared: our engine, transformers' continuous batching, and its `generate`, each told apart by nothing else.

All write greedily and to the last token asked for, whatever the checkpoint says of its ends. A token is stamped with
`perf_counter`: ours when its stream is handed it, continuous batching's by its own thread and so a little earlier,
generate's after each step.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import GenerationOutput

from app.engine.local import LocalEngine
from app.engine.types import Sampling, Whose

Stamped = tuple[int, float]
"""A token and when it was there, in seconds."""
Text = list[Stamped]
PAGE = 64


class Writer(Protocol):
    def __call__(self, prompt: Sequence[int], count: int) -> AsyncGenerator[Stamped]: ...


def ours(engine: LocalEngine, keep: float = 0.0, key: str = "") -> Writer:
    async def write(prompt: Sequence[int], count: int) -> AsyncGenerator[Stamped]:
        async with aclosing(engine.generate(prompt, Sampling(max_tokens=count, keep=keep), whose=Whose(key))) as tokens:
            async for token in tokens:
                yield token.id, time.perf_counter()

    return write


@contextmanager
def batching(
    folder: Path, device: str, config: ContinuousBatchingConfig, dtype: str = "auto", *, streamed: bool
) -> Iterator[Writer]:
    """transformers' continuous batching, through the handlers that its own server uses. Unless it is `streamed` a text
    comes whole, which is quicker; its stamps are the same."""
    ends = GenerationConfig(do_sample=False, eos_token_id=-1)
    model: Any = _model(folder, device, dtype)
    context = model.continuous_batching_context_manager(generation_config=ends, continuous_batching_config=config)
    with context as manager:
        yield _batched(manager, streamed)


def _batched(manager: ContinuousBatchingManager, streamed: bool) -> Writer:
    async def write(prompt: Sequence[int], count: int) -> AsyncGenerator[Stamped]:
        told, name = asyncio.Queue[GenerationOutput](), uuid.uuid4().hex
        manager.register_result_handler(name, told.put_nowait)
        manager.add_request(
            list(prompt), request_id=name, max_new_tokens=count, streaming=streamed, record_timestamps=True
        )
        seen, finished = 0, False
        try:
            while not finished:
                output = await told.get()
                finished = output.is_finished()
                if output.error:
                    raise RuntimeError(f"continuous batching failed: {output.error}")
                stamps = output.timestamps or []
                for pair in list(zip(output.generated_tokens, stamps, strict=False))[seen:]:
                    seen += 1
                    yield pair
        finally:
            if not finished:
                manager.cancel_request(name)

    return write


def roomy(sequences: int, length: int, *, page: int = PAGE, **given: Any) -> ContinuousBatchingConfig:
    """Settings with cache for twice as many sequences of such a length. By itself it takes most of the memory.

    Small pages share more of a prompt; what else its guide advises is for flash attention, which no CPU has.
    """
    pages = 2 * sequences * (-(-length // page) + 1)
    return ContinuousBatchingConfig(page_size=page, num_blocks=pages, **given)


class Generate:
    """transformers' `generate` over its DynamicCache: one static batch, from prompts of equal length."""

    def __init__(self, folder: Path, device: str, dtype: str = "auto") -> None:
        self._model = _model(folder, device, dtype)
        self._model.generation_config = GenerationConfig(do_sample=False, use_cache=True)

    def write(self, prompts: Sequence[Sequence[int]], count: int) -> list[Text]:
        ids = torch.tensor(prompts, device=self._model.device)
        stamps = _Stamps()
        with torch.inference_mode():
            out = self._model.generate(  # type: ignore[operator]
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                stopping_criteria=StoppingCriteriaList([stamps]),
            )
        written: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return [list(zip(text, stamps.times, strict=True)) for text in written]


class _Stamps(StoppingCriteria):
    """Stops nothing; notes when each step's tokens are there."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        input_ids[0, -1].item()  # a GPU may still be at it
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _model(folder: Path, device: str, dtype: str) -> PreTrainedModel:
    """`auto`: float32 on a CPU, where it is the quicker for most of what is measured, else the checkpoint's own."""
    dtype = "float32" if dtype == "auto" and device == "cpu" else dtype
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    model.config.eos_token_id = None
    model.to(device)  # type: ignore[arg-type]
    model.eval()
    return model


def bandwidth(device: str) -> float:
    """Bytes that the device's memory moves in a second, reading and writing: the best of ten large copies."""
    source = torch.ones(2**28, dtype=torch.int32, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(10):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * source.nbytes / best


def set_threads(count: int) -> None:
    """For everybody in this process; the threads of an engine take it over from here."""
    torch.set_num_threads(count)


async def texts(write: Writer, prompts: Sequence[Sequence[int]], count: int) -> list[Text]:
    """All at once, each to its end."""

    async def one(prompt: Sequence[int]) -> Text:
        async with aclosing(write(prompt, count)) as stream:
            return [stamped async for stamped in stream]

    return await asyncio.gather(*map(one, prompts))
