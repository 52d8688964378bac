"""What a checkpoint's config.json says of the decoder, or a refusal that names what we cannot run.

Everything a config may switch on and this decoder does not compute is refused here, at load time: answers that are
silently a little wrong are the worst failure an engine has.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from app.engine.types import UnsupportedModel

FAMILIES = ("llama", "qwen2", "qwen3", "smollm3", "mistral", "granite", "granitemoehybrid")
GRANITE = ("granite", "granitemoehybrid")
# The others' own code takes no notice of layer_types: Mistral's window is every layer's, Llama and Granite have none.
BY_LAYER = ("qwen2", "qwen3", "smollm3")
ROPE_KINDS = ("default", "linear", "dynamic", "llama3", "yarn")
OTHER = "take another checkpoint, or one that another server runs, named by COGCORE_CORE_URL"


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of one decoder. `rope` is the checkpoint's own table of RoPE parameters, with `rope_type` set.

    Per layer: `windows` is how many keys a token sees, itself included (None: all), `turned` whether RoPE turns it.
    The scales are Granite's multipliers; for the others they are 1, and 1 / √head_dim for attention.
    """

    family: str
    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_eps: float
    rope: Mapping[str, Any]
    windows: tuple[int | None, ...]
    turned: tuple[bool, ...]
    tied: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    qk_norm: bool
    embedding_scale: float
    attention_scale: float
    residual_scale: float
    logits_scale: float
    dtype: str

    @property
    def parameters(self) -> int:
        """In the matrices, about: embeddings that are tied count once."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        block = attention + 3 * self.hidden * self.intermediate
        return self.layers * block + (1 + (not self.tied)) * self.vocab_size * self.hidden

    def kv_bytes(self, itemsize: int) -> int:
        """Of one token, in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * itemsize


def read_config(folder: Path) -> DecoderConfig:
    """The decoder's shape from a Hugging Face folder. Raises UnsupportedModel."""
    if not (folder / "config.json").is_file():
        raise UnsupportedModel(f"{folder} has no config.json: give the folder of a Hugging Face checkpoint")
    try:
        raw = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, KeyError, OSError) as exc:
        raise UnsupportedModel(f"{folder}/config.json cannot be read as a model's config: {exc}") from exc
    return from_mapping({**raw.to_dict(), "dtype": str(raw.dtype or "float32").removeprefix("torch.")})


def from_mapping(raw: Mapping[str, Any]) -> DecoderConfig:
    """`raw` is transformers' normalised config: RoPE under `rope_parameters`, defaults filled in."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedModel(f"model_type {family!r} is not one of {', '.join(FAMILIES)}: {OTHER}")
    if family == "granitemoehybrid":
        raw = _plain_granite(raw)
    _refuse_what_we_do_not_compute(raw)
    rope = dict(raw["rope_parameters"])
    layers, heads = raw["num_hidden_layers"], raw["num_attention_heads"]
    head_dim = raw.get("head_dim") or raw["hidden_size"] // heads
    scaled = raw if family in GRANITE else {}
    bias = bool(raw.get("attention_bias", False))
    return DecoderConfig(
        family=family,
        vocab_size=raw["vocab_size"],
        hidden=raw["hidden_size"],
        intermediate=raw["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=raw["num_key_value_heads"],
        head_dim=head_dim,
        context=_context(raw["max_position_embeddings"], rope),
        norm_eps=raw["rms_norm_eps"],
        rope=rope,
        windows=_windows(raw, layers),
        turned=_turned(raw, layers),
        tied=bool(raw["tie_word_embeddings"]),
        # Qwen2 has biases on q, k and v by definition and none on the output.
        qkv_bias=bias or family == "qwen2",
        out_bias=bias and family != "qwen2",
        mlp_bias=bool(raw.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
        embedding_scale=scaled.get("embedding_multiplier", 1.0),
        attention_scale=scaled.get("attention_multiplier", 1 / math.sqrt(head_dim)),
        residual_scale=scaled.get("residual_multiplier", 1.0),
        logits_scale=1 / scaled.get("logits_scaling", 1.0),
        dtype=raw["dtype"],
    )


def _refuse_what_we_do_not_compute(raw: Mapping[str, Any]) -> None:
    if raw.get("quantization_config"):
        raise UnsupportedModel("quantization_config: only plain weights are read; take the original")
    if raw.get("hidden_act") != "silu":
        raise UnsupportedModel(f"hidden_act {raw.get('hidden_act')!r} is not silu: {OTHER}")
    rope = raw.get("rope_parameters") or {}
    if "rope_theta" not in rope:
        raise UnsupportedModel(f"rope_parameters has no rope_theta (per-layer RoPE is not computed): {OTHER}")
    if rope.get("rope_type") not in ROPE_KINDS:
        kinds = ", ".join(ROPE_KINDS)
        raise UnsupportedModel(f"rope_type {rope.get('rope_type')!r} is not one of {kinds}: {OTHER}")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedModel(f"partial_rotary_factor other than 1 is not computed: {OTHER}")


def _plain_granite(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The small dense Granite 4.0 checkpoints say that they are hybrids of which only attention is left."""
    kinds = set(raw.get("layer_types") or ["linear_attention"])
    if kinds != {"full_attention"} or raw.get("num_local_experts") or raw.get("position_embedding_type") != "rope":
        raise UnsupportedModel(f"granitemoehybrid with Mamba layers, experts, or no RoPE is not computed: {OTHER}")
    return {**raw, "intermediate_size": raw["shared_intermediate_size"]}


def _windows(raw: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    family, window = raw["model_type"], raw.get("sliding_window")
    usual = "sliding_attention" if family == "mistral" and window else "full_attention"
    kinds = tuple(raw.get("layer_types") or (usual,) * layers)
    if family not in BY_LAYER and set(kinds) != {usual}:
        raise UnsupportedModel(f"layer_types other than {usual} are not computed for {family}: {OTHER}")
    if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise UnsupportedModel(f"layer_types must name full_attention or sliding_attention per layer, not {kinds}")
    if "sliding_attention" in kinds and not window:
        raise UnsupportedModel("layer_types has sliding_attention and sliding_window does not say how wide: add it")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _turned(raw: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    if raw["model_type"] != "smollm3":
        return (True,) * layers
    # In spite of its name, a 1 there stands for a layer with RoPE.
    turned = tuple(map(bool, raw["no_rope_layers"][:layers]))
    if len(turned) < layers:
        raise UnsupportedModel(f"no_rope_layers has {len(turned)} entries for {layers} layers: correct config.json")
    return turned


def _context(positions: int, rope: Mapping[str, Any]) -> int:
    # Configs with YaRN added by hand, as Qwen's own README tells, keep the unextended max_position_embeddings.
    if rope["rope_type"] == "yarn" and rope.get("factor"):
        return max(positions, int(rope["factor"] * rope["original_max_position_embeddings"]))
    return positions
