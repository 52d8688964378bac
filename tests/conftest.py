"""The real models, loaded once for all tests, and what is made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from app.cores.load import TINY_FOLDER, load_tokenizer
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


@pytest.fixture(scope="session")
def core_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded core; in a checkout before its first training, its own protocol over untrained weights.

    What the server promises (grammar, quotes, shapes, cancellation) must hold whatever a core has learned.
    """
    if (TINY_FOLDER / "model.safetensors").exists():
        return TINY_FOLDER
    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = load_tokenizer(TINY_FOLDER)
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.cogcore_profile = "tiny"
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def open_memory(embedder: SentenceEmbedder, reader: Reader) -> Iterator[Callable[[Path], Memory]]:
    """Opens real memories, all closed after the test."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(Memory(folder, embedder, reader)))
