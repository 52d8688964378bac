"""How much the reader's look improves a ranking.

    python -m app.bench rerank train.jsonl.xz dev.jsonl.xz

The passages of all files are indexed, the questions come from the last one. R@k: how often one of the first k passages
is the question's own; nDCG counts where it is among the first ten. Of the scores: by how much those of the first hits
miss the share of them that is right, the mean over ten equal parts of them. Fused alone is what both
indexes make of it together; reread is the order after the reader.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.bench.reader import Case, cases
from index.catalog.chunks import Entry, Indexed
from index.embed import load_embedder
from index.rank import READ, reread
from index.reader import load_reader
from index.store import Store
from index.types import Chunk, Embedder, PassageReader

DEPTHS = (1, 3, 5, READ)
BATCH = 256
PARTS = 10
NO_READER = "none"


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where a question's own passage came, counted from 0; None where it is not among the first READ."""

    fused: int | None
    read: int | None
    score: float  # of the first one, reread


def indexed(passages: Sequence[str], embedder: Embedder) -> Store:
    """Each passage is a document of its own."""
    store = Store(embedder.dimension)
    for at in tqdm(range(0, len(passages), BATCH), "embedding", mininterval=10):
        vectors = embedder.encode(passages[at : at + BATCH])
        store.add(
            Indexed(n, "", {}, [Entry(n, (), passages[n])], vectors[n - at : n - at + 1])
            for n in range(at, at + len(vectors))
        )
    return store


def ranked(
    store: Store, passages: Sequence[str], case: Case, embedder: Embedder, reader: PassageReader | None
) -> Ranked:
    """One question, searched as the server does."""
    fused = store.search(case.question, embedder.encode_queries([case.question])[0])
    first = list(fused)[:READ]
    place = _place(first, passages, case)
    if reader is None:
        return Ranked(place, place, 0.0)
    chunks = [Chunk(str(n), "", "", passages[n], 0, len(passages[n]), None, ()) for n in first]
    scores = [score for score, _ in reread(reader, case.question, chunks, [fused[n] for n in first])]
    again = [n for _, n in sorted(zip(scores, first, strict=True), key=lambda pair: -pair[0])]
    return Ranked(place, _place(again, passages, case), max(scores))


def _place(order: Sequence[int], passages: Sequence[str], case: Case) -> int | None:
    return next((at for at, n in enumerate(order) if passages[n] == case.passage), None)


def gain(place: int | None) -> float:
    """nDCG with one right passage (Järvelin and Kekäläinen 2002)."""
    return 0.0 if place is None else 1 / math.log2(place + 2)


def miscalibration(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over PARTS equal parts."""
    parts = np.array_split(np.argsort(scores), PARTS)
    off = [
        abs(np.mean(np.take(scores, part)) - np.mean(np.take(right, part))) * len(part) for part in parts if len(part)
    ]
    return float(sum(off) / len(scores))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench rerank", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("squad", type=Path, nargs="+", help="files as for the reader's measure; the last is asked")
    parser.add_argument(
        "--reader", default="", help="an exported reader; by default the one in the package; none: fused alone"
    )
    parser.add_argument("--questions", type=int, default=1000, help="how many, drawn with seed 0")
    parser.add_argument("--passages", type=int, default=0, help="how many, the last file's kept (0 for all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    passages = list(dict.fromkeys(case.passage for path in given.squad for case in cases(path)))
    asked = list(cases(given.squad[-1]))
    if given.passages:
        own = {case.passage for case in asked}
        passages = sorted(passages, key=lambda passage: passage not in own)[: given.passages]
        kept = set(passages)
        asked = [case for case in asked if case.passage in kept]
    sample = random.Random(0).sample(asked, min(given.questions, len(asked)))
    embedder = load_embedder(device=given.device)
    reader = None
    if given.reader != NO_READER:
        reader = load_reader(given.reader, device=given.device, threads=given.threads)
    store = indexed(passages, embedder)
    places = [ranked(store, passages, case, embedder, reader) for case in tqdm(sample, "asking", mininterval=10)]
    print(f"{len(sample)} questions over {len(passages)} passages; percent whose own passage is among the first k")
    print(f"{'':<8}" + "".join(f"{f'R@{k}':>8}" for k in DEPTHS) + f"{f'nDCG@{READ}':>9}")
    both = (("fused", [p.fused for p in places]), ("reread", [p.read for p in places]))
    for name, found in both if reader else both[:1]:
        shares = (100 * sum(at is not None and at < k for at in found) / len(found) for k in DEPTHS)
        print(f"{name:<8}" + "".join(f"{share:>8.1f}" for share in shares) + f"{np.mean([*map(gain, found)]):>9.3f}")
    if not reader:
        return
    off = miscalibration([p.score for p in places], [p.read == 0 for p in places])
    print(f"the first one's score, reread, misses the share that is right by {off:.3f}")
