"""The packaged embedder in int8 beside the same model under sentence-transformers, in turn.

    python -m app.bench embed --data DIR [--passages 512] [--questions 100] [--repeats 5]

DIR has wiki/ and squad/ (app/bench/corpora.py). sentence-transformers runs as the server would run it: in bf16 where
the CPU multiplies that, and in float32, with which all vectors are compared. Medians; a question is embedded alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from app.bench.corpora import paragraphs, questions
from index.embed import embedder_folder, load_embedder, multiplies_bf16
from index.types import Embedder


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench embed", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="a folder with wiki/ and squad/")
    parser.add_argument("--passages", type=int, default=512)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    texts = list(islice(paragraphs(given.data), given.passages))
    asked = questions(given.data, given.questions)
    folder = str(embedder_folder(""))
    ways: dict[str, Embedder] = {"int8": load_embedder(), "float32": load_embedder(folder, half=False)}
    if multiplies_bf16("cpu"):
        ways["bf16"] = load_embedder(folder)
    exact = ways["float32"].encode(texts)
    rates, each = ({name: list[float]() for name in ways} for _ in range(2))
    for _ in range(given.repeats):
        for name, embedder in ways.items():
            rates[name].append(len(texts) / seconds(lambda embedder=embedder: embedder.encode(texts)))  # type: ignore[misc]
            each[name] += [1000 * seconds(lambda e=embedder, q=one: e.encode_queries([q])) for one in asked]  # type: ignore[misc]
    print(f"{len(texts)} passages, {len(asked)} questions, {given.repeats} times in turn; cosine to float32")
    print(f"{'':<12}{'passages/s':>12}{'ms a question':>16}{'least cosine':>14}{'mean':>8}")
    for name, embedder in ways.items():
        cosines = np.einsum("nd,nd->n", embedder.encode(texts), exact)
        rate, took = statistics.median(rates[name]), statistics.median(each[name])
        print(f"{name:<12}{rate:>12.1f}{took:>16.2f}{cosines.min():>14.4f}{cosines.mean():>8.4f}")
