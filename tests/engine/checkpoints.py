"""Tiny random checkpoints of each family, written by transformers: the reference that our decoder is held to."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

VOCAB = 97
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    # No token is special: some families' defaults lie outside this vocabulary.
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e3,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Chosen so that each one matters: none is 1, and attention's is not 1 / √head_dim.
GRANITE = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.7,
    "logits_scaling": 6.0,
}
# Granite 4.0's 350m, 1b and micro: of the hybrid they are named after only attention is left.
DENSE = {
    "layer_types": ["full_attention"] * 3,
    "num_local_experts": 0,
    "num_experts_per_tok": 0,
    "position_embedding_type": "rope",
    "shared_intermediate_size": 40,
    "tie_word_embeddings": True,
    "mamba_n_heads": 4,
}
FAMILIES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-tied-biased": (
        LlamaConfig,
        LlamaForCausalLM,
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama-llama3": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3}),
    "llama-linear": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
    ),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen2-tied": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen2-yarn": (Qwen2Config, Qwen2ForCausalLM, {"rope_parameters": YARN}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16}),
    "qwen3-tied": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3-yarn": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {"head_dim": 16, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}},
    ),
    "qwen3-no-gqa": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8, "num_key_value_heads": 4}),
    "llama-dynamic": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ),
    "qwen2-window": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1},
    ),
    "qwen3-window": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {
            "head_dim": 16,
            "use_sliding_window": True,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {"no_rope_layers": [1, 0, 1]}),
    "smollm3-untied-biased-yarn": (
        SmolLM3Config,
        SmolLM3ForCausalLM,
        {
            "no_rope_layer_interval": 2,
            "tie_word_embeddings": False,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": YARN,
        },
    ),
    "smollm3-window": (
        SmolLM3Config,
        SmolLM3ForCausalLM,
        {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 12},
    ),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None, "head_dim": 16}),
    "mistral-tied-window": (MistralConfig, MistralForCausalLM, {"sliding_window": 12, "tie_word_embeddings": True}),
    "granite": (GraniteConfig, GraniteForCausalLM, GRANITE),
    "granite-tied-biased": (
        GraniteConfig,
        GraniteForCausalLM,
        {**GRANITE, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "granite-4": (GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM, {**GRANITE, **DENSE}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
}


def write(name: str, folder: Path, *, shards: str = "1GB", **changes: Any) -> PreTrainedModel:
    """Write the family's checkpoint and return transformers' own model of it."""
    config_class, model_class, extra = FAMILIES[name]
    torch.manual_seed(1)
    model = model_class(config_class(**{**SHAPE, **extra, **changes}))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            # Fresh norms are all ones and fresh biases all zeros, which would hide their mistakes.
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif "proj" not in parameter_name:
                parameter.mul_(1.5)
    model.save_pretrained(folder, max_shard_size=shards)
    reloaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reloaded.eval()
    return reloaded
