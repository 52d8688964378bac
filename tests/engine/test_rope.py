"""RoPE frequencies agree with transformers' for each kind, with the values of real checkpoints."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from app.engine.rope import frequencies, tables

LLAMA31 = {
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0},
        {"rope_type": "llama3", **LLAMA31},
        {"rope_type": "yarn", **YARN},
        {"rope_type": "yarn", **YARN, "attention_factor": 0.7},
        {"rope_type": "yarn", **YARN, "mscale": 1.0, "mscale_all_dim": 0.3},
        {"rope_type": "yarn", **YARN, "beta_fast": 16, "beta_slow": 2, "truncate": False},
        {"rope_type": "yarn", **YARN, "factor": 0.5},
    ],
)
@pytest.mark.parametrize("dim", [16, 64, 128])
def test_frequencies(rope: dict[str, Any], dim: int) -> None:
    config = LlamaConfig(
        hidden_size=2 * dim, num_attention_heads=2, head_dim=dim, max_position_embeddings=131072, rope_parameters=rope
    )
    given = config.rope_parameters
    assert given is not None
    want, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    got, got_scale = frequencies(dict(given), dim)
    torch.testing.assert_close(got, want, rtol=2e-6, atol=0)
    assert got_scale == pytest.approx(scale)


def test_tables_turn_and_keep_length() -> None:
    cos, sin = tables({"rope_type": "default", "rope_theta": 1e4}, 8, 50)
    x = torch.randn(8)
    turned = x * cos + x.roll(4) * sin
    torch.testing.assert_close(turned[0], x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm().expand(50))
    # What RoPE is for: products depend on the distance only.
    torch.testing.assert_close(turned[10] @ turned[13], turned[40] @ turned[43], atol=1e-5, rtol=1e-5)
