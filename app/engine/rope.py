"""Rotary position embeddings as tables: the plain kind and three ways of stretching it.

RoFormer (2104.09864), linear position interpolation (2306.15595), YaRN (2309.00071), and Llama 3.1's own rule.
Numbers agree with transformers' modeling_rope_utils, which the tests hold them to.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def tables(rope: Mapping[str, Any], dim: int, positions: int) -> tuple[Tensor, Tensor]:
    """(cos, sin), each [positions, dim] float32. The first half of sin is negated: rotate(x) = x·cos + roll(x)·sin."""
    inverse, scale = frequencies(rope, dim)
    angles = torch.arange(positions, dtype=torch.float32)[:, None] * inverse
    cos, sin = angles.cos() * scale, angles.sin() * scale
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def frequencies(rope: Mapping[str, Any], dim: int) -> tuple[Tensor, float]:
    """Inverse frequencies [dim / 2] and the factor on cos and sin, for the kinds that `config` lets through."""
    plain = torch.pow(float(rope["rope_theta"]), -torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    match rope["rope_type"]:
        case "linear":
            return plain / rope["factor"], 1.0
        case "llama3":
            return _llama3(rope, plain), 1.0
        case "yarn":
            return _yarn(rope, plain, dim)
        case _:  # "dynamic" too: it stretches only beyond max_position_embeddings, where no context of ours goes
            return plain, 1.0


def _llama3(rope: Mapping[str, Any], plain: Tensor) -> Tensor:
    # Long waves are slowed by `factor`, short ones kept, those between blended.
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    waves = plain * (float(rope["original_max_position_embeddings"]) / (2 * math.pi))
    blend = ((waves - low) / (high - low)).clamp(0, 1)
    return plain * ((1 - blend) / float(rope["factor"]) + blend)


def _yarn(rope: Mapping[str, Any], plain: Tensor, dim: int) -> tuple[Tensor, float]:
    base, original, factor = rope["rope_theta"], rope["original_max_position_embeddings"], rope["factor"]

    def dimension(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / ((high - low) or 0.001)).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), _attention_factor(rope, factor)


def _attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    def temper(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return temper(rope["mscale"]) / temper(rope["mscale_all_dim"])
    return temper(1.0)
