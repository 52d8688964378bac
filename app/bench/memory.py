"""The memory, measured row by row: ratios of what is done in turn in one run, and medians.

    python -m app.bench memory vectors --data DIR [--size 1000000]   recall, time and RAM of the dense index, one thread
    python -m app.bench memory search --data DIR [--size 100000]     a whole search over its three parts called directly
    python -m app.bench memory crowd --data DIR [--size 100000]      sixteen searchers at once over one
    python -m app.bench memory squad --data DIR [--questions 3000]   ranking over SQuAD's passages, fused and reread
    python -m app.bench memory ingest --data DIR [--size 200000]     ingest over the bare embedder, and how flat

DIR holds wiki/, squad/ and docs_kb/ (app/bench/corpora.py). `search` and `crowd` ingest `--size` chunks of wiki first;
with `--keep FOLDER` they are kept there for the next time. A search is fused and not reread, unless it says so.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from app.bench import dense, rerank
from app.bench.corpora import articles, documentation, questions
from index.catalog import chunks
from index.dense import CANDIDATES, PROBED, PROBES, Tiers
from index.embed import load_embedder
from index.loading import GROUP
from index.memory import DEFAULT_STORE, Memory
from index.rank import DEPTH
from index.reader import load_reader
from index.store import Store, indexed_text
from index.types import Attachment, Embedder, PassageReader

WORKERS = 2
FILES, FEW = 64, 100  # ingested at once: so many, or one for so many chunks where that is less
POINTS, TENTH = 100, 10  # where an ingest's bare embedder is timed too, evenly over its chunks; first and last ones
SEARCHERS = 16
ROUNDS = 3  # of one searcher and of many, in turn
HITS = 10


@contextmanager
def opened(keep: Path | None, embedder: Embedder, reader: PassageReader | None = None) -> Iterator[Memory]:
    """A memory in the folder to keep, or in one that is removed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Memory(keep or Path(folder), embedder, reader, workers=WORKERS)) as memory,
    ):
        yield memory


def ingested(memory: Memory, files: Sequence[tuple[str, bytes]]) -> float:
    """Seconds until all of them can be found."""
    began = time.perf_counter()
    ids = [memory.add_file(name, data).id for name, data in files]
    memory.attach_batch(DEFAULT_STORE, [Attachment(one) for one in ids])
    for one in ids:
        memory.wait(DEFAULT_STORE, one)
    return time.perf_counter() - began


def fill(memory: Memory, data: Path, size: int) -> Store:
    """So many chunks of wiki at least, where there are so many, and the tier that suits them."""
    more = islice(articles(data), memory.stats().files, None)
    with tqdm(total=size, initial=memory.stats().chunks, desc="chunks", mininterval=10) as bar:
        while (count := memory.stats().chunks) < size and (files := list(islice(more, at_once(size)))):
            ingested(memory, files)
            bar.update(memory.stats().chunks - count)
    (store,) = memory._shelf.opened().values()
    while not Tiers().suits(store.dense, len(store)):  # the keeper looks once a minute
        time.sleep(1)
    return store


def at_once(size: int) -> int:
    return min(FILES, 1 + size // FEW)


def texts_after(memory: Memory, last: int) -> tuple[list[str], int]:
    """What was embedded of the chunks with higher numbers, and the highest now."""
    (number,) = memory._shelf.opened()
    with memory._catalog.read() as tx:
        new = chunks.of_documents(tx, chunks.documents_after(tx, number, last))
        reached = chunks.extent(tx, number).last
    return [indexed_text(one.filename, e.headings, e.text) for one in new for e in one.entries], reached


def bare(embedder: Embedder, texts: Sequence[str]) -> float:
    """Seconds to embed them and do nothing else, in as many threads as the ingest has."""
    groups = [texts[start : start + GROUP] for start in range(0, len(texts), GROUP)]
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(embedder.encode, groups))
    return time.perf_counter() - began


def ingest(given: argparse.Namespace) -> None:
    embedder = load_embedder()
    embedder.encode(["warm"] * GROUP)
    mixed = list(documentation(given.data))
    random.Random(0).shuffle(mixed)  # each project's files are of one kind
    for name, files in (("docs_kb", iter(mixed)), ("wiki", articles(given.data))):
        with opened(None, embedder) as memory:
            ingested(memory, [("warm.md", b"The parser's process is there.")])
            ratios, rates, last = list[float](), list[float](), texts_after(memory, 0)[1]
            with tqdm(total=given.size, desc=name, mininterval=10) as bar:
                while bar.n < given.size and (some := list(islice(files, at_once(given.size)))):
                    seconds = ingested(memory, some)
                    texts, last = texts_after(memory, last)
                    if texts:
                        rates.append(len(texts) / seconds)
                        if bar.n >= len(ratios) * given.size / POINTS:
                            ratios.append(bare(embedder, texts) / seconds)
                            bar.set_postfix(ratio=ratios[-1], refresh=False)
                        bar.update(len(texts))
            part = max(1, len(ratios) // TENTH)
            flat = statistics.median(ratios[-part:]) / statistics.median(ratios[:part])
            print(f"{name}, {memory.stats().chunks} chunks: {statistics.median(rates):.0f} chunks/s")
            print(
                f"  over the bare embedder: {statistics.median(ratios):.2f}; the last tenth over the first: {flat:.2f}"
            )


def search(given: argparse.Namespace) -> None:
    embedder = load_embedder()
    with opened(given.keep, embedder) as memory:
        store = fill(memory, given.data, given.size)
        direct = parts(store, embedder)
        asked = questions(given.data, given.questions)
        whole, apart = list[float](), list[list[float]]()
        for n, question in enumerate(asked):
            if n % 2:
                apart.append(direct(question))
            began = time.perf_counter()
            memory.search(DEFAULT_STORE, question, HITS, rerank=False)
            whole.append(1000 * (time.perf_counter() - began))
            if not n % 2:
                apart.append(direct(question))
        print(f"{memory.stats().chunks} chunks, {len(asked)} questions, milliseconds: median, 95 %")
        _told("a whole search", whole)
        sums = [sum(times) for times in apart]
        for name, times in zip(("embed", "faiss", "tantivy"), zip(*apart, strict=True), strict=True):
            _told(f"  {name} alone", times)
        _told("the three alone", sums)
        print(f"{'whole over the three':<24}{_ratio(whole, sums, 50):>8.2f}{_ratio(whole, sums, 95):>8.2f}")


def parts(store: Store, embedder: Embedder) -> Callable[[str], list[float]]:
    """The embedder, FAISS and tantivy called as their own documentation does, on the store's own indexes."""
    vectors: Any = store.dense
    lexical: Any = store._lexical
    raw, words = vectors._index, lexical._index
    exact = not hasattr(raw, "nlist")
    if not exact:
        raw.nprobe = min(raw.nlist, max(PROBES, raw.nlist // PROBED))

    def timed(question: str) -> list[float]:
        began = time.perf_counter()
        vector = embedder.encode_queries([question])
        embedded = time.perf_counter()
        raw.search(vector, DEPTH if exact else CANDIDATES)
        near = time.perf_counter()
        kept = "".join(c if c.isalnum() else " " for c in question)
        words.searcher().search(words.parse_query(kept, ["text"]), DEPTH)
        return [1000 * seconds for seconds in (embedded - began, near - embedded, time.perf_counter() - near)]

    return timed


def crowd(given: argparse.Namespace) -> None:
    embedder, reader = load_embedder(), load_reader()
    with opened(given.keep, embedder, reader) as memory:
        fill(memory, given.data, given.size)
        asked = questions(given.data, given.questions)
        print(f"{memory.stats().chunks} chunks; searches/s of one searcher, of {SEARCHERS}, and their ratio; medians")
        for name, rerank_, some in (("fused", False, asked), ("reread", True, asked[: ROUNDS * SEARCHERS])):
            rates = [(rate(memory, some, 1, rerank_), rate(memory, some, SEARCHERS, rerank_)) for _ in range(ROUNDS)]
            one, many = (statistics.median(side) for side in zip(*rates, strict=True))
            ratio = statistics.median(b / a for a, b in rates)
            print(f"{name:<24}{one:>8.1f}{many:>8.1f}{ratio:>8.2f}")


def rate(memory: Memory, asked: Sequence[str], searchers: int, reread: bool) -> float:
    """Searches a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(searchers) as pool:
        list(pool.map(lambda question: memory.search(DEFAULT_STORE, question, HITS, rerank=reread), asked))
    return len(asked) / (time.perf_counter() - began)


def vectors(given: argparse.Namespace) -> None:
    dense.main(["--vectors", str(given.size), "--data", str(given.data), "--questions", str(given.questions)])


def squad(given: argparse.Namespace) -> None:
    files = [str(given.data / "squad" / f"{part}.jsonl.xz") for part in ("train", "dev")]
    rerank.main([*files, "--questions", str(given.questions), "--passages", str(given.size)])


def _told(name: str, times: Sequence[float]) -> None:
    print(f"{name:<24}{np.median(times):>8.2f}{np.percentile(times, 95):>8.2f}")


def _ratio(whole: Sequence[float], sums: Sequence[float], percent: int) -> float:
    return float(np.percentile(whole, percent) / np.percentile(sums, percent))


# What is done, the size and the number of questions unless told otherwise.
ROWS: dict[str, tuple[Callable[[argparse.Namespace], None], int, int]] = {
    "vectors": (vectors, 1_000_000, 100),
    "search": (search, 100_000, 1000),
    "crowd": (crowd, 100_000, 1600),
    "squad": (squad, 0, 3000),
    "ingest": (ingest, 200_000, 0),
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench memory", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--data", type=Path, required=True, help="a folder with wiki/, squad/ and docs_kb/")
    parser.add_argument("--size", type=int, help="chunks, or vectors; of squad: passages, 0 for all")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--keep", type=Path, help="search, crowd: a folder for what is ingested")
    given = parser.parse_args(arguments)
    run, size, count = ROWS[given.row]
    given.size = size if given.size is None else given.size
    given.questions = count if given.questions is None else given.questions
    run(given)
