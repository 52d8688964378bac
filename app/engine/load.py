"""From a Hugging Face folder (or hub id) to a running engine. Reads safetensors only: a pickle runs code."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from app.engine.cache import KVCache, Slots
from app.engine.config import DecoderConfig, read_config
from app.engine.device import NotEnoughMemory, free_memory
from app.engine.draft import Speculation
from app.engine.flash import works
from app.engine.graphs import Capturing
from app.engine.local import LocalEngine
from app.engine.model import Decoder, Layer, Matrix, Weights
from app.engine.packed import ANY, EXACT, Packed, layout
from app.engine.plan import Planner
from app.engine.scheduler import Scheduler
from app.engine.types import UnsupportedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")
DType = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENIZER = ["*.json", "*.txt", "*.model", "*.jinja"]
# Mistral's repositories carry the weights a second time, as consolidated.safetensors.
WANTED = [*TOKENIZER, "model*.safetensors"]
DEFAULT_CONTEXT = 8192
SMALL = 16_000_000  # parameters: threads that share a step of fewer wait for one another longer than they work
SHARE = 0.8  # of the memory that is free beside the weights: the rest is for a step's own tensors, and for others
# Old checkpoints carry these tables; they are computed here.
DERIVED = ("rotary_emb.inv_freq",)


def resolve(path: str | Path, wanted: Sequence[str] = WANTED) -> Path:
    """The folder of a checkpoint: itself when it exists, else what is wanted of the hub id's snapshot, downloaded."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    name = str(path)
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise UnsupportedModel(f"no folder {name!r}: give an existing folder or a hub id such as Qwen/Qwen3-0.6B")
    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except (OSError, ValueError, HFValidationError) as exc:
        raise UnsupportedModel(f"{name!r} is no local folder and could not be fetched from the hub: {exc}") from exc


def load_engine(
    path: str | Path,
    device: str = "cpu",
    *,
    dtype: DType = "auto",
    max_sequences: int = 8,
    cache_tokens: int | None = None,
    queue: int = 64,
    threads: int | None = None,
    prefill_chunk: int | None = None,
    step_seconds: float = 0.05,
    speculation: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LocalEngine:
    """Load a checkpoint of a family that `config` names and start its thread. Blocks.

    Raises UnsupportedModel, and NotEnoughMemory. `cache_tokens` is the KV of all slots together, in tokens, 2 ·
    max_sequences slots of equal size (on a GPU mostly one more); the context length is one slot's share. By default it
    is the model's own up to 8192, and there are fewer slots where memory is short. `prefill_chunk` is the most prompt
    tokens in a step; while somebody is being answered there are only as many as a step of `step_seconds` has time for.
    `speculation` is the most ids that are drafted for a request and step, 0 for none. `threads` sets torch's for the
    whole process: by default one for a model under SMALL on a CPU, else as many as there are cores.
    "auto" is the checkpoint's own dtype on a GPU, and float32 on a CPU, but for products with bf16 weights where it has
    instructions for those (packed.py). "float32" gives nearly the same numbers on every CPU.
    """
    if max_sequences < 1 or queue < 1:
        raise ValueError(f"max_sequences and queue must be at least 1, not {max_sequences} and {queue}")
    folder = resolve(path)
    config = read_config(folder)
    kind = _dtype(dtype, config, device)
    quick = device != "cpu" and works(config, kind, torch.device(device), varlen_attn)
    slots = 2 * max_sequences + quick  # where a GPU's graphs leave the rows that nobody needs
    context = min(config.context, DEFAULT_CONTEXT if cache_tokens is None else cache_tokens // slots)
    if context < 2:
        raise ValueError(f"cache_tokens={cache_tokens} leaves {context} tokens to each of {slots} slots: give more")
    weights = _weights(folder, config, kind, device, EXACT if dtype == "float32" else ANY)
    least = 1 + quick if cache_tokens is None else slots
    slots = _fitting(slots, least, context, config.kv_bytes(kind.itemsize), device) - quick
    decoder = Decoder(config, weights, context)
    cache = KVCache(config.layers, slots + quick, config.kv_heads, context, config.head_dim, kind, device)
    if quick:
        decoder.quicken(cache, slots, max_sequences, varlen_attn, Capturing())
    # Up to about 160 rows a step keep the bits of a row independent of the others (see model.py); a GPU wants more.
    chunk, quantum = (128, 32) if device == "cpu" else (2048, 512)
    # On a CPU about six rows cost what a step costs without any. On a GPU drafts are cheap, but each has its launches.
    drafts = Speculation(8, 24, 6) if device == "cpu" else Speculation(8, 32, 32, apart=False)
    if speculation is not None:
        drafts = replace(drafts, most=speculation)
    planner = Planner(prefill_chunk or chunk, quantum, step_seconds, drafts)
    places = Slots(cache, slots, clock)
    if threads is None and device == "cpu" and config.parameters < SMALL:
        threads = 1
    return LocalEngine(Scheduler(decoder, places, planner, min(max_sequences, slots), queue, threads, clock))


def _fitting(slots: int, least: int, context: int, token_bytes: int, device: str) -> int:
    """How many of the slots can be had. Raises NotEnoughMemory when it is less than the least."""
    room = int(SHARE * free_memory(device)) // token_bytes
    if room < least * context:
        raise NotEnoughMemory(
            f"{least} · {context} tokens of KV need {least * context * token_bytes / 2**30:.2f} GiB, and the free "
            f"memory of {device} has room for {room}: free some, set COGCORE_CACHE_TOKENS to at most {room}, or take "
            "a smaller core"
        )
    if room < slots * context:
        logger.warning("memory for %d of %d sequences of %d tokens", room // context, slots, context)
    return min(slots, room // context)


def _dtype(name: DType, config: DecoderConfig, device: str) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device == "cpu" else DTYPES.get(config.dtype, torch.bfloat16)
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


class _Checkpoint:
    """The tensors of a folder by name, read one by one; it knows which nobody asked for."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: str, kinds: Sequence[type[Packed]]) -> None:
        self.folder, self.dtype, self.device, self.kinds = folder, dtype, device, kinds
        self.files = self._files()
        self.left = set(self.files)
        self.layouts: dict[object, tuple[type[Packed], int] | None] = {}  # by shape and kinds

    def _files(self) -> dict[str, str]:
        """Which file holds which tensor."""
        index, single = self.folder / "model.safetensors.index.json", "model.safetensors"
        if index.is_file():
            try:
                return dict(json.loads(index.read_text())["weight_map"])
            except (ValueError, KeyError, TypeError) as exc:
                raise UnsupportedModel(f"{index} cannot be read: {exc!r}") from exc
        if not (self.folder / single).is_file():
            raise UnsupportedModel(f"{self.folder} has no {single}: convert the checkpoint to safetensors")
        return dict.fromkeys(self._open(single, lambda file: list(file.keys())), single)

    def _open(self, name: str, read: Callable[[Any], T]) -> T:
        try:
            with safe_open(self.folder / name, framework="pt") as file:
                return read(file)
        except (OSError, SafetensorError) as exc:
            raise UnsupportedModel(f"{self.folder / name} cannot be read, fetch it again: {exc}") from exc

    def get(self, name: str, *shape: int) -> Tensor:
        if name not in self.files:
            raise UnsupportedModel(
                f"{self.folder} lacks the tensor {name}: the checkpoint is incomplete or another kind"
            )
        self.left.discard(name)
        tensor: Tensor = self._open(self.files[name], lambda file: file.get_tensor(name))
        if tensor.shape != shape:
            raise UnsupportedModel(f"{name} is {tuple(tensor.shape)} where config.json says {shape}")
        return tensor

    def keep(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype).contiguous()

    def matrix(self, names: Iterable[str], outs: Iterable[int], inside: int) -> Matrix:
        """The named [out, in] matrices side by side as one from `inside` to the sum of outs."""
        parts = [self.get(f"{name}.weight", out, inside) for name, out in zip(names, outs, strict=True)]
        weight = torch.cat(parts)
        kinds = self.kinds if weight.dtype == torch.bfloat16 else EXACT
        weight = weight.to(self.device, self.dtype)
        like = weight.shape, kinds
        if like not in self.layouts:
            self.layouts[like] = layout(weight, kinds)
        chosen = self.layouts[like]
        return weight.t().contiguous() if chosen is None else chosen[0](weight)

    def table(self, name: str, rows: int, inside: int) -> Tensor:
        """A matrix whose rows are looked up, in its own precision where that is smaller."""
        weight = self.get(f"{name}.weight", rows, inside)
        return weight.to(self.device, min(weight.dtype, self.dtype, key=lambda kind: kind.itemsize))

    def bias(self, names: Iterable[str], outs: Iterable[int], there: bool) -> Tensor | None:
        if not there:
            return None
        return self.keep(torch.cat([self.get(f"{name}.bias", out) for name, out in zip(names, outs, strict=True)]))


def _weights(
    folder: Path, config: DecoderConfig, dtype: torch.dtype, device: str, kinds: Sequence[type[Packed]] = EXACT
) -> Weights:
    files = _Checkpoint(folder, dtype, device, kinds)
    embedding, vocabulary = "model.embed_tokens", config.vocab_size
    layers = tuple(_layer(files, config, f"model.layers.{index}") for index in range(config.layers))
    norm = files.keep(files.get("model.norm.weight", config.hidden))
    head = files.matrix([embedding if config.tied else "lm_head"], [vocabulary], config.hidden)
    embed = head.t() if config.tied and isinstance(head, Tensor) else files.table(embedding, vocabulary, config.hidden)
    files.left -= {"lm_head.weight"} if config.tied else set()
    unknown = sorted(name for name in files.left if not name.endswith(DERIVED))
    if unknown:
        raise UnsupportedModel(f"{folder} has tensors that a {config.family} decoder does not use: {unknown[:3]}")
    fewest = max(2 if chosen is None else chosen[1] for chosen in files.layouts.values())
    return Weights(embed, layers, norm, head, fewest)


def _layer(files: _Checkpoint, config: DecoderConfig, at: str) -> Layer:
    hidden, inner, dim = config.hidden, config.intermediate, config.head_dim
    qkv = [f"{at}.self_attn.{letter}_proj" for letter in "qkv"]
    widths = [config.heads * dim, config.kv_heads * dim, config.kv_heads * dim]
    gate_up, halves, down = [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"], [inner, inner], [f"{at}.mlp.down_proj"]
    if config.family == "granitemoehybrid":
        gate_up, halves, down = [f"{at}.shared_mlp.input_linear"], [2 * inner], [f"{at}.shared_mlp.output_linear"]
    out = [f"{at}.self_attn.o_proj"]
    qk_norm = None
    if config.qk_norm:
        query, key = (files.get(f"{at}.self_attn.{letter}_norm.weight", dim) for letter in "qk")
        qk_norm = files.keep(torch.cat((query.expand(config.heads, dim), key.expand(config.kv_heads, dim))))
    return Layer(
        input_norm=files.keep(files.get(f"{at}.input_layernorm.weight", hidden)),
        qkv=files.matrix(qkv, widths, hidden),
        qkv_bias=files.bias(qkv, widths, config.qkv_bias),
        qk_norm=qk_norm,
        out=files.matrix(out, [hidden], config.heads * dim),
        out_bias=files.bias(out, [hidden], config.out_bias),
        post_norm=files.keep(files.get(f"{at}.post_attention_layernorm.weight", hidden)),
        gate_up=files.matrix(gate_up, halves, hidden),
        gate_up_bias=files.bias(gate_up, halves, config.mlp_bias),
        down=files.matrix(down, [hidden], inner),
        down_bias=files.bias(down, [hidden], config.mlp_bias),
    )
