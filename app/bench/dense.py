"""What the dense index of one store finds, how fast, and how much RAM it takes.

    python -m app.bench dense [--vectors 100000] [--faiss auto] [--questions 100] [--data DIR]

The vectors are drawn around centres, one for a hundred of them, in 384 dimensions. With `--data` they are real ones:
`--real` paragraphs of its wiki are embedded, each vector is a mixture of two of them, with half at least of the first,
and the questions are SQuAD's. Recall and time are those of the 100
nearest, as a search asks for them, in one thread; the RAM is what the process grew by, the store's table of documents
(20 vectors each) and the places of the vectors among it.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.bench.corpora import paragraphs, questions
from index.blocks import rounded
from index.catalog.documents import Searchable
from index.dense import EXACT_UP_TO, Approximate, Tiers, sample_size
from index.embed import load_embedder
from index.rank import DEPTH
from index.rows import Rows
from index.store import Store
from index.tiers import recall
from index.types import Vectors
from index.vectors import VectorFiles

DIMENSION, DOCUMENT, BATCH, CLUSTER = 384, 20, 32, 100
EMBEDDED = 256  # at once


Draw = Callable[[int, int], Vectors]
"""So many vectors, by a seed."""


def drawn(clusters: int, count: int, seed: int) -> Vectors:
    centres = np.random.default_rng(0).standard_normal((clusters, DIMENSION), np.float32)
    dice = np.random.default_rng(seed)
    made = centres[dice.integers(0, clusters, count)] + dice.standard_normal((count, DIMENSION), np.float32)
    return rounded(made / np.linalg.norm(made, axis=1, keepdims=True))


def mixed(real: Vectors, count: int, seed: int) -> Vectors:
    dice = np.random.default_rng(seed)
    first, second = dice.integers(0, len(real), (2, count))
    share = dice.uniform(0.5, 1.0, (count, 1)).astype(np.float32)
    made = share * real[first] + (1 - share) * real[second]
    return rounded(made / np.linalg.norm(made, axis=1, keepdims=True))


def written(files: VectorFiles, count: int, draw: Draw) -> list[Searchable]:
    """Documents, their vectors in the file."""
    made = list[Searchable]()
    for start in tqdm(range(0, count, DOCUMENT * BATCH), "documents", mininterval=10):
        vectors = draw(min(DOCUMENT * BATCH, count - start), 10 + start)
        for at in range(0, len(vectors), DOCUMENT):
            part = vectors[at : at + DOCUMENT]
            first = start + at
            block = files.append("a", first, range(first, first + len(part)), part)
            made.append(Searchable(first, "a.md", {}, block))
    return made


def filled(files: VectorFiles, listed: Sequence[Searchable], store: Store) -> None:
    with files.reading("a") as read:
        for start in range(0, len(listed), BATCH):
            kept = [(one, read(one.document, one.block)) for one in listed[start : start + BATCH]]
            store.hold([(one, found) for one, found in kept if found is not None])
    if isinstance(store.dense, Approximate):
        store.dense.tighten()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench dense", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--faiss", default="auto", help="as COGCORE_FAISS")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--data", type=Path, help="a folder with wiki/ and squad/")
    parser.add_argument("--real", type=int, default=20_000, help="paragraphs of the data that are embedded")
    given = parser.parse_args(arguments)
    count = given.vectors
    draw: Draw = partial(drawn, -(-count // CLUSTER))
    if given.data is None:
        asked = draw(given.questions, 3)
    else:
        embedder = load_embedder()
        texts = tqdm(islice(paragraphs(given.data), given.real), "embedding", given.real, mininterval=10)
        real = [embedder.encode(some) for some in iter(lambda: list(islice(texts, EMBEDDED)), [])]
        draw = partial(mixed, np.concatenate(real))
        asked = embedder.encode_queries(questions(given.data, given.questions))
    with tempfile.TemporaryDirectory() as folder:
        files = VectorFiles(Path(folder), DIMENSION, "drawn")
        store = Store(DIMENSION, rows=Rows("a", files.rows))
        factory = Tiers(given.faiss, EXACT_UP_TO).factory(count, DIMENSION)
        if factory is not None:
            sample = draw(min(count, sample_size(factory)), 2)
            store.swap_vectors(Approximate(DIMENSION, factory, sample, store.rows, count))
            del sample
        listed = written(files, count, draw)
        before = resident()
        filled(files, listed, store)
        grown, took = resident() - before, []
        for question in asked:
            began = time.perf_counter()
            store.dense.search(question, DEPTH)
            took.append(1000 * (time.perf_counter() - began))
        found = [recall(store, question) or 0.0 for question in asked]
    print(f"{factory or 'exact'}, {count} vectors, {len(asked)} questions")
    print(f"{'recall@10':<24}{np.mean(found):>8.3f}")
    print(f"{'median, 95 %: ms':<24}{np.median(took):>8.2f}{np.percentile(took, 95):>8.2f}")
    print(f"{'bytes of RAM a vector':<24}{grown / count:>8.1f}")
