"""A core that has learned nothing: the embedded core's tokenizer and protocol, and random weights."""

import shutil
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from app.cores.load import TINY_FOLDER


def untrained(folder: Path) -> Path:
    """The folder, with the core in it."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=8192,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.5,
    )
    config.cogcore_profile = "tiny"
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY_FOLDER / name, folder)
    return folder
