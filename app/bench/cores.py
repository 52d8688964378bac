"""The cores that are measured: the embedded one, random ones of two sizes, or any checkpoint's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed

from app.cores.load import TINY_FOLDER

RANDOM_CONTEXT = 4096
SHAPES: dict[str, dict[str, Any]] = {
    # 27M, for CPUs, and Qwen3-1.7B's, for GPUs.
    "random": {
        "vocab_size": 16384,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "large": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}


@contextmanager
def folder_of(core: str) -> Iterator[Path]:
    """Where the core lies: `tiny`, `random`, `large`, or a folder. A random one is gone afterwards."""
    if core == "tiny":
        yield TINY_FOLDER
    elif core in SHAPES:
        with TemporaryDirectory() as made:
            write_random(Path(made), core)
            yield Path(made)
    else:
        yield Path(core)


def write_random(folder: Path, size: str) -> None:
    """Random weights in Qwen3's shape; the large ones in bfloat16."""
    set_seed(0)
    shape = Qwen3Config(
        **SHAPES[size],
        max_position_embeddings=RANDOM_CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    Qwen3ForCausalLM._from_config(shape, dtype="bfloat16" if size == "large" else "float32").save_pretrained(folder)
