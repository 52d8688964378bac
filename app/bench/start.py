"""How long a memory takes to open: with no snapshot, with fresh ones of its words and codes, with some that lack 1 %.

    python -m app.bench start [--chunks 100000] [--document 20]

The vectors are drawn around centres, one for a hundred of them. The words are drawn too: 180 a chunk, of 50,000 that
are as unequally frequent as those of a language (Zipf). CPU seconds stand beside, for busy machines. All is written
into a folder of its own, which is removed afterwards.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from index.catalog import Catalog, chunks, documents, files, jobs, stores
from index.catalog.chunks import Draft
from index.dense import Tiers
from index.keeper import Keeper
from index.lexical import KIND
from index.loading import Loader
from index.memory import DEFAULT_STORE, Memory
from index.shelf import Shelf
from index.snapshot import Snapshots
from index.tiers import Trainer
from index.types import Attachment, File, Vectors
from index.vectors import VectorFiles

WORDS, VOCABULARY = 180, 50_000
CLUSTER, BATCH = 100, 256  # vectors around one centre; documents in one transaction
UNASKED = "the vectors are drawn: nothing is embedded here"


class Drawn:
    """An embedder that is never asked: the vectors are there."""

    dimension, window = 384, 256
    name = fingerprint = "drawn/384"

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError(UNASKED)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError(UNASKED)

    def count_tokens(self, text: str) -> int:
        raise AssertionError(UNASKED)

    def decode(self, ids: Sequence[int]) -> str | None:
        raise AssertionError(UNASKED)


def fill(folder: Path, start: int, end: int, size: int) -> None:
    """The documents from one number to another, in the default store, so many chunks in each."""
    dice = np.random.default_rng(start)
    centres = np.random.default_rng(0).standard_normal((-(-end * size // CLUSTER), Drawn.dimension), np.float32)
    vocabulary = np.array([f"word{n}" for n in range(VOCABULARY)], object)
    Memory(folder, Drawn()).close()
    with closing(Catalog(folder / "catalog.sqlite")) as catalog:
        vectors = VectorFiles(catalog.vectors, Drawn.dimension, Drawn.fingerprint)
        for first in tqdm(range(start, end, BATCH), "documents", mininterval=10, unit_scale=BATCH):
            with catalog.write() as tx:
                store = stores.number(tx, DEFAULT_STORE)
                file = stores.vector_file(tx, store)
                for n in range(first, min(first + BATCH, end)):
                    drawn = centres[dice.integers(0, len(centres), size)]
                    drawn = drawn + dice.standard_normal((size, Drawn.dimension), np.float32)
                    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
                    rows = np.minimum(dice.zipf(1.2, (size, WORDS)), VOCABULARY) - 1
                    drafts = [Draft(" ".join(row), 0, 0, None, ("Part",)) for row in vocabulary[rows]]
                    files.add(tx, File(f"file-{n}", f"{n}.md", 0, 0, "assistants", f"{n:064x}"))
                    documents.attach(tx, store, Attachment(f"file-{n}"), None, 0)
                    document = documents.number(tx, store, f"file-{n}")
                    jobs.complete(tx, document, 0, None)
                    chunks.add(tx, document, drafts)
                    (made,) = chunks.of_documents(tx, [document])
                    block = vectors.append(file, document, made.chunks, drawn)
                    documents.keep_block(tx, document, block)


def keep(folder: Path) -> None:
    """Let the keeper make its snapshots."""
    with closing(Catalog(folder / "catalog.sqlite")) as catalog:
        vectors = VectorFiles(catalog.vectors, Drawn.dimension, Drawn.fingerprint)
        snapshots = Snapshots(catalog.words, KIND)
        loader = Loader(catalog, vectors, snapshots, Drawn(), Tiers())
        shelf = Shelf(catalog, vectors, snapshots, loader)
        with catalog.read() as tx:
            store = stores.number(tx, DEFAULT_STORE)
        shelf.get(store)
        with closing(Keeper(catalog, shelf, loader, snapshots, Trainer(shelf, loader, Tiers()))) as keeper:
            keeper.keep()


def opening(folder: Path) -> tuple[float, float]:
    """Seconds until it answers, and CPU seconds."""
    began, spent = time.perf_counter(), time.process_time()
    memory = Memory(folder, Drawn())
    took = time.perf_counter() - began, time.process_time() - spent
    memory.close()
    return took


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench start", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--document", type=int, default=20, help="chunks in a document")
    given = parser.parse_args(arguments)
    total = given.chunks // given.document
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        fill(folder, 0, total, given.document)
        print(f"{given.chunks} chunks in documents of {given.document}; seconds until the memory is open, CPU seconds")
        _show("from the texts", opening(folder))
        keep(folder)
        _show("with a fresh snapshot", opening(folder))
        fill(folder, total, total + max(1, total // 100), given.document)
        _show("with one that lacks 1 %", opening(folder))


def _show(what: str, took: tuple[float, float]) -> None:
    print(f"{what:<24}{took[0]:>8.2f}{took[1]:>8.2f}", flush=True)
