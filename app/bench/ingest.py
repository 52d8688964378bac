"""How fast documents become searchable, over how fast the embedder alone embeds the same texts.

    cogcore bench ingest FOLDER [--files 0] [--runs 3]

Both sides in every run, in turn, on as many threads as the memory has workers; the ratio is the median of the runs'.
Also told: which share of this process's CPU time was spent inside the embedder, which a busy machine changes less.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median

from index.embed import load_embedder
from index.folder import find_files, ingest_files
from index.memory import DEFAULT_STORE, Memory
from index.types import Embedder, Vectors

WORKERS = 2
GROUP = 512  # texts in a call of the bare embedder, which puts those of like length together


class Timed:
    """An embedder that keeps what it was asked, and the CPU time that it took."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self._lock = embedder, threading.Lock()
        self.dimension, self.window = embedder.dimension, embedder.window
        self.name, self.fingerprint = embedder.name, embedder.fingerprint
        self.texts, self.spent = list[str](), 0.0

    def encode(self, texts: Sequence[str]) -> Vectors:
        began = time.thread_time()
        vectors = self._embedder.encode(texts)
        with self._lock:
            self.spent += time.thread_time() - began
            self.texts += texts
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.encode_queries(texts)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    def decode(self, ids: Sequence[int]) -> str | None:
        return self._embedder.decode(ids)


def ingested(embedder: Timed, paths: Sequence[Path]) -> tuple[float, float]:
    """Seconds until all are searchable, and CPU seconds of this process (parsers have their own)."""
    with tempfile.TemporaryDirectory() as folder, closing(Memory(Path(folder), embedder, workers=WORKERS)) as memory:
        began, spent = time.perf_counter(), time.process_time()
        ingest_files(memory, DEFAULT_STORE, paths)
        return time.perf_counter() - began, time.process_time() - spent


def bare(embedder: Embedder, texts: Sequence[str]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(embedder.encode, (texts[at : at + GROUP] for at in range(0, len(texts), GROUP))))
    return time.perf_counter() - began


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench ingest", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=0, help="only so many (all)")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args(arguments)
    paths = find_files([given.folder]).files
    paths = paths[:: max(1, len(paths) // given.files)][: given.files] if given.files else paths
    embedder = load_embedder()
    print(f"{'chunks':>8}{'ingest/s':>10}{'bare/s':>10}{'ratio':>8}{'CPU in the embedder':>21}")
    ratios = []
    for _ in range(given.runs):
        timed = Timed(embedder)
        took, spent = ingested(timed, paths)
        alone = bare(embedder, timed.texts)
        ratios.append(alone / took)
        count = len(timed.texts)
        row = f"{count:>8}{count / took:>10.1f}{count / alone:>10.1f}{ratios[-1]:>8.2f}"
        print(f"{row}{timed.spent / spent:>20.0%}", flush=True)
    print(f"median ratio {median(ratios):.2f}")
