"""The real models, loaded once for all tests, and what is made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from app.engine.device import pick
from index.embed import Embedder, load_embedder
from index.memory import Memory
from index.reader import Reader, load_reader

# Cores are shared with other test runs; more threads than cores only wait for each other.
torch.set_num_threads(1)
settings.register_profile("campaign", max_examples=5000)  # for hours, not for the default suite


def set_aside() -> list[str]:
    """The settings of whoever runs the tests that are not honoured. All but the device: the tests hold for the embedded
    core, and write to folders of their own, never to somebody's documents."""
    return sorted(name for name in os.environ if name.startswith("COGCORE_") and name != "COGCORE_DEVICE")


def pytest_report_header() -> str:
    return f"settings not for tests, set aside: {', '.join(set_aside()) or 'none'}"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set_aside():
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def device() -> str:
    """Where the models run: COGCORE_DEVICE, or the CPU, whose results every machine shares."""
    return pick(os.environ.get("COGCORE_DEVICE", "cpu"))


@pytest.fixture(scope="session")
def embedder(device: str) -> Embedder:
    return load_embedder(device=device)


@pytest.fixture(scope="session")
def reader(device: str) -> Reader:
    return load_reader(device=device)


@pytest.fixture
def open_memory(embedder: Embedder, reader: Reader) -> Iterator[Callable[[Path], Memory]]:
    """Opens real memories, all closed after the test."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(Memory(folder, embedder, reader)))
