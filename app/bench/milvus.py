"""A store's search with its indexes in Milvus beside one with them in RAM, asked in turn.

    python -m app.bench milvus dev.jsonl.xz [--passages 1000] [--questions 30] [--url http://127.0.0.1:19530]

Without a URL pymilvus starts Milvus Lite, which is made for tests, in this process and on the loopback: its times say
nothing of Milvus. Recall is against the exact search. The collections are new ones, and are dropped at the end.
"""

import argparse
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from app.bench.reader import cases
from index.catalog.chunks import Entry, Indexed
from index.embed import load_embedder
from index.milvus import Milvus, RemoteVectors, RemoteWords, names
from index.rank import DEPTH
from index.store import Store
from index.types import Vectors

BATCH = 256


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench milvus", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("squad", type=Path, help="a file as for the reader's measure")
    parser.add_argument("--passages", type=int, default=1000, help="the first so many")
    parser.add_argument("--questions", type=int, default=30, help="how many, drawn with seed 0")
    parser.add_argument("--url", default="", help="a Milvus")
    given = parser.parse_args(arguments)
    asked = list(cases(given.squad))
    passages = list(dict.fromkeys(case.passage for case in asked))[: given.passages]
    sample = [case.question for case in random.Random(0).sample(asked, min(given.questions, len(asked)))]
    embedder = load_embedder()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        closing(Milvus(given.url or f"{folder}/lite.db")) as milvus,
    ):
        near, far = Store(embedder.dimension), Store(embedder.dimension)
        in_vectors, in_words = names(secrets.token_hex(6), 1, embedder.fingerprint)
        far.swap_vectors(RemoteVectors(milvus, in_vectors, embedder.dimension))
        far.swap_words(RemoteWords(milvus, in_words))
        for at in tqdm(range(0, len(passages), BATCH), "embedding", mininterval=10):
            texts = passages[at : at + BATCH]
            entries = [Entry(at + n, (), text) for n, text in enumerate(texts)]
            part = Indexed(at, "", {}, entries, embedder.encode(texts))
            near.add([part])
            far.add([part])
        for name in (in_vectors, in_words):
            milvus.seal(name)
        took: tuple[list[float], list[float]] = ([], [])
        alike, shared = 0.0, 0.0
        for question in tqdm(sample, "asking", mininterval=10):
            (vector,) = embedder.encode_queries([question])
            best = [timed(store, question, vector, times) for store, times in zip((near, far), took, strict=True)]
            shared += len(set(best[0]) & set(best[1])) / len(best[0])
            exact, found = (list(store.dense.search(vector, DEPTH))[:10] for store in (near, far))
            alike += len(set(exact) & set(found)) / len(exact)
        for name in (in_vectors, in_words):
            milvus.drop(name)
    ratio = statistics.median(b / a for a, b in zip(*took, strict=True))
    print(f"{'Milvus' if given.url else 'Milvus Lite'}, {len(passages)} passages, {len(sample)} questions")
    print(f"{'ms in RAM, in Milvus':<36}" + "".join(f"{1000 * statistics.median(times):>8.1f}" for times in took))
    print(f"{'ratio, median':<36}{ratio:>8.1f}")
    print(f"{'recall@10 of the vectors':<36}{alike / len(sample):>8.3f}")
    print(f"{'of ten passages found, found by both':<36}{shared / len(sample):>8.3f}")


def timed(store: Store, question: str, vector: Vectors, times: list[float]) -> list[int]:
    began = time.perf_counter()
    found = store.search(question, vector)
    times.append(time.perf_counter() - began)
    return list(found)[:10]
