"""One tiny checkpoint of each family, written once, and one engine over the Qwen3 one that most tests share."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from app.engine.load import load_engine
from app.engine.local import LocalEngine
from tests.engine import checkpoints

Checkpoint = tuple[Path, PreTrainedModel]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    torch.set_num_threads(1)
    written: dict[str, Checkpoint] = {}

    def get(name: str) -> Checkpoint:
        if name not in written:
            folder = tmp_path_factory.mktemp(name)
            written[name] = (folder, checkpoints.write(name, folder))
        return written[name]

    return get


@pytest.fixture(scope="session")
def reference(checkpoint: Callable[[str], Checkpoint]) -> PreTrainedModel:
    return checkpoint("qwen3")[1]


Start = Callable[..., LocalEngine]


def _started(folder: Path) -> Iterator[Start]:
    """Start an engine over the checkpoint (or another folder) with a test's own settings; closed afterwards."""
    started: list[LocalEngine] = []

    def make(folder: Path = folder, **settings: Any) -> LocalEngine:
        given: dict[str, Any] = {"max_sequences": 4, "threads": 1, "prefill_chunk": 16, **settings}
        started.append(load_engine(folder, **given))
        return started[-1]

    yield make
    for engine in started:
        asyncio.run(engine.close(grace=5))


@pytest.fixture
def start(checkpoint: Callable[[str], Checkpoint]) -> Iterator[Start]:
    yield from _started(checkpoint("qwen3")[0])


@pytest.fixture(scope="module")
def start_shared(checkpoint: Callable[[str], Checkpoint]) -> Iterator[Start]:
    """For engines that the tests of a file share."""
    yield from _started(checkpoint("qwen3")[0])


@pytest.fixture(scope="session")
def engine(checkpoint: Callable[[str], Checkpoint]) -> Iterator[LocalEngine]:
    shared = load_engine(checkpoint("qwen3")[0], max_sequences=4, threads=1, prefill_chunk=16)
    yield shared
    asyncio.run(shared.close(grace=5))
