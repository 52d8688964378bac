"""What a catalog in PostgreSQL costs beside one in SQLite: the same documents into both, the same questions, in turn.

    python -m app.bench catalog postgresql://USER@HOST/DATABASE [--documents 400] [--searches 400] [--drawn]

The database must be new: it is left as it then is. The texts are drawn words; the embedder is the packaged one, or with
--drawn one that takes no time, so that what is left is reading, splitting, indexing and the catalog. Ratios are
PostgreSQL's seconds over SQLite's, the median of eight rounds in which each goes first by turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import numpy as np

from index.embed import load_embedder
from index.memory import DEFAULT_STORE, Memory
from index.types import Attachment, Embedder, Vectors

ROUNDS = 8
PARAGRAPHS, WORDS, VOCABULARY = 6, 120, 50_000


class Drawn:
    """Vectors of length 1 that mean nothing."""

    dimension, window = 384, 256
    name = fingerprint = "drawn/384"

    def encode(self, texts: Sequence[str]) -> Vectors:
        drawn = np.random.default_rng(len(texts)).standard_normal((len(texts), self.dimension)).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def decode(self, ids: Sequence[int]) -> str | None:
        return None


def texts(count: int) -> list[str]:
    dice = np.random.default_rng(0)
    rows = np.minimum(dice.zipf(1.2, (count, PARAGRAPHS, WORDS)), VOCABULARY)
    return ["\n\n".join(" ".join(f"word{n}" for n in paragraph) for paragraph in one) for one in rows]


def ingest(memory: Memory, group: Sequence[str]) -> None:
    files = [memory.add_file(f"{n}.txt", text.encode()) for n, text in enumerate(group)]
    memory.attach_batch(DEFAULT_STORE, [Attachment(file.id) for file in files])
    for file in files:
        memory.wait(DEFAULT_STORE, file.id)


def ask(memory: Memory, group: Sequence[str]) -> None:
    for text in group:
        memory.search(DEFAULT_STORE, " ".join(text.split()[:8]))


def delete(memory: Memory, group: Sequence[str]) -> None:
    for file in memory.files(limit=len(group)).data:
        memory.delete_file(file.id)


def ratio(
    memories: Mapping[str, Memory], work: Callable[[Memory, Sequence[str]], None], groups: Sequence[Sequence[str]]
) -> None:
    took: dict[str, list[float]] = {name: [] for name in memories}
    for n, group in enumerate(groups):
        for name in list(memories)[:: 1 if n % 2 else -1]:
            began = time.perf_counter()
            work(memories[name], group)
            took[name].append((time.perf_counter() - began) / len(group))
    each = [ours / theirs for ours, theirs in zip(took["PostgreSQL"], took["SQLite"], strict=True)]
    told = ", ".join(f"{name} {1000 * median(seconds):.1f} ms" for name, seconds in took.items())
    print(f"{work.__name__:<8}{median(each):>6.2f}  ({min(each):.2f} to {max(each):.2f}; {told} each)", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench catalog", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("url", help="of a new database")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--searches", type=int, default=400)
    parser.add_argument("--drawn", action="store_true", help="embed in no time")
    given = parser.parse_args(arguments)
    embedder: Embedder = Drawn() if given.drawn else load_embedder()
    made = texts(given.documents)
    asked = (made * -(-given.searches // len(made)))[: given.searches]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        memories = {
            name: opened.enter_context(closing(Memory(Path(folder) / name, embedder, filtered=False, catalog_url=url)))
            for name, url in (("SQLite", ""), ("PostgreSQL", given.url))
        }
        print(f"{len(made)} documents of {PARAGRAPHS * WORDS} words, {len(asked)} searches, one after the other")
        ratio(memories, ingest, [made[n::ROUNDS] for n in range(ROUNDS)])
        ratio(memories, ask, [asked[n::ROUNDS] for n in range(ROUNDS)])
        ratio(memories, delete, [made[:5]] * ROUNDS)
