"""The cores that are measured: the embedded one, a random one of twice its size, or any checkpoint's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed

from app.cores.load import TINY_FOLDER

RANDOM_CONTEXT = 4096


@contextmanager
def folder_of(core: str) -> Iterator[Path]:
    """Where the core lies: `tiny`, `random`, or a folder. A random one is gone afterwards."""
    if core == "tiny":
        yield TINY_FOLDER
    elif core == "random":
        with TemporaryDirectory() as made:
            write_random(Path(made))
            yield Path(made)
    else:
        yield Path(core)


def write_random(folder: Path) -> None:
    """27M random weights in Qwen3's shape."""
    set_seed(0)
    shape = Qwen3Config(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=RANDOM_CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    Qwen3ForCausalLM(shape).save_pretrained(folder)
