"""Which device a setting means on this machine."""

import torch

from app.engine.types import EngineError


class NoSuchDevice(EngineError):
    """The device asked for is not here; the message names the remedy."""


def pick(device: str) -> str:
    """`auto` is the first GPU when torch sees one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice("torch sees no GPU here: set COGCORE_DEVICE=cpu, or install torch for CUDA and its driver")
    return device
