"""Which device a setting means on this machine, and what memory is free on it."""

import os
from pathlib import Path

import torch

from app.engine.types import EngineError


class NoSuchDevice(EngineError):
    """The device asked for is not here; the message names the remedy."""


class NotEnoughMemory(EngineError):
    """What was asked for does not fit into the device's free memory; the message names what would."""


def pick(device: str) -> str:
    """`auto` is the first GPU when torch sees one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice("torch sees no GPU here: set COGCORE_DEVICE=cpu, or install torch for CUDA and its driver")
    return device


def free_memory(device: str) -> int:
    """Bytes that may still be taken on the device."""
    return free_on_host() if device == "cpu" else torch.cuda.mem_get_info(device)[0]


def free_on_host(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int:
    """What the machine can give without swapping, and not more than a container (cgroup v2) leaves of its limit."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # all of it, where the system tells no more
    if meminfo.is_file():
        free = int(_table(meminfo)["MemAvailable:"]) * 1024
    limit = group / "memory.max"
    if limit.is_file() and (most := limit.read_text().strip()) != "max":
        # Files that were read count as the container's too, but they make room when it is needed.
        free = min(free, int(most) - int(_table(group / "memory.stat")["anon"]))
    return max(free, 0)


def _table(path: Path) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in path.read_text().splitlines()}
