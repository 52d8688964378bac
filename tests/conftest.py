"""The real models, loaded once for all tests, and what is made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import torch

from index.embed import SentenceEmbedder, load_embedder
from index.memory import Memory
from index.reader import Reader, load_reader

# Cores are shared with other test runs; more threads than cores only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests are not those of the tests."""
    for name in list(os.environ):
        if name.startswith("COGCORE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def embedder() -> SentenceEmbedder:
    return load_embedder()


@pytest.fixture(scope="session")
def reader() -> Reader:
    return load_reader()


@pytest.fixture
def open_memory(embedder: SentenceEmbedder, reader: Reader) -> Iterator[Callable[[Path], Memory]]:
    """Opens real memories, all closed after the test."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(Memory(folder, embedder, reader)))
