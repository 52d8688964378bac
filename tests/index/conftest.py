"""The real embedder, loaded once, and memories in folders of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index.embed import SentenceEmbedder, load_embedder
from index.memory import Memory
from tests.fakes import HashedWords

Open = Callable[..., Memory]


@pytest.fixture(scope="session")
def embedder() -> SentenceEmbedder:
    return load_embedder()


@pytest.fixture
def open_memory(tmp_path: Path) -> Iterator[Open]:
    """Opens a memory in tmp_path/data with hashed words, unless told otherwise, and closes what is left open."""
    opened: list[Memory] = []

    def open_one(folder: str = "data", **given: Any) -> Memory:
        memory = Memory(tmp_path / folder, given.pop("embedder", None) or HashedWords(), **given)
        opened.append(memory)
        return memory

    yield open_one
    for memory in opened:
        memory.close()
