"""How well the reader marks and refuses, and how fast.

    python -m app.bench reader [dev-v1.1.json] [--reader FOLDER] [--against FOLDER]

Invented facts (app/train/worlds.py, names and values drawn afresh), each with five passages like the right one; and,
where a file is given, SQuAD questions, each with the paragraph that answers it. The file is SQuAD's own JSON or has one
paragraph a line (`.jsonl`, `.jsonl.xz`: {title, context, qas}). EM and F1 as in SQuAD's evaluation script (Rajpurkar et
al. 2016): lower case, no punctuation, no articles, the best over the accepted answers. `--against` names a second
reader, and the share of equal spans is printed. Evaluation only: never fit anything here.
"""

import argparse
import json
import lzma
import math
import random
import re
import string
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.train.judge import area
from app.train.worlds import fact
from index.reader import Reader, load_reader

TIMED_PASSAGES = 20


@dataclass(frozen=True, slots=True)
class Case:
    question: str
    passage: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Percentages, the marked texts in the order of the cases, and the mean time per call."""

    exact: float
    f1: float
    spans: tuple[str, ...]
    milliseconds: float


def cases(path: Path) -> Iterator[Case]:
    """Every question of a SQuAD file with its paragraph."""
    data = path.read_bytes()
    text = (lzma.decompress(data) if path.suffix == ".xz" else data).decode()
    if path.suffix == ".json":
        rows = [paragraph for article in json.loads(text)["data"] for paragraph in article["paragraphs"]]
    else:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    for row in rows:
        for qa in row["qas"]:
            yield Case(qa["question"], row["context"], tuple(answer["text"] for answer in qa["answers"]))


def normalized(text: str) -> list[str]:
    """The words that SQuAD's evaluation compares."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def f1(given: str, accepted: str) -> float:
    """Overlap of words, 0 to 1."""
    a, b = normalized(given), normalized(accepted)
    same = sum((Counter(a) & Counter(b)).values())
    return 2 * same / (len(a) + len(b)) if same else float(a == b)


@dataclass(frozen=True, slots=True)
class Told:
    """Percent of invented facts: value marked exactly, right passage first of six; and the area under the ROC curve."""

    exact: float
    first: float
    area: float


def told(reader: Reader, count: int) -> Told:
    """Whether it tells the passage that states a fact from those like it."""
    exact = first = 0
    right, wrong = [], []
    for n in range(count):
        made = fact(random.Random(f"bench {n}"))
        passages = [made.passage, *made.others]
        spans = reader.spans(made.question, [p.text for p in passages], [p.headings for p in passages])
        leads = [span.lead if span else -math.inf for span in spans]
        right.append(leads[0])
        wrong += leads[1:]
        first += leads[0] == max(leads)
        marked = made.passage.text[spans[0].start : spans[0].end] if spans[0] else ""
        exact += normalized(marked) == normalized(made.passage.text[made.start : made.end])
    return Told(100 * exact / count, 100 * first / count, area(right, wrong))


def judged(reader: Reader, sample: Sequence[Case]) -> Outcome:
    """Reads each case's own passage."""
    started = time.perf_counter()
    spans = []
    for case in sample:
        (mark,) = reader.read(case.question, [case.passage])
        spans.append(case.passage[mark.start : mark.end])
    seconds = time.perf_counter() - started
    pairs = list(zip(spans, sample, strict=True))
    exact = sum(any(normalized(span) == normalized(a) for a in case.answers) for span, case in pairs)
    overlap = sum(max(f1(span, a) for a in case.answers) for span, case in pairs)
    n = len(sample)
    return Outcome(100 * exact / n, 100 * overlap / n, tuple(spans), 1000 * seconds / n)


def per_call(reader: Reader, sample: Sequence[Case], calls: int = 10) -> float:
    """Milliseconds to read twenty passages for one question, the median of some calls."""
    passages = iter(dict.fromkeys(case.passage for case in sample))
    times = []
    for case in sample[:calls]:
        batch = list(islice(passages, TIMED_PASSAGES))
        started = time.perf_counter()
        reader.read(case.question, batch)
        times.append(1000 * (time.perf_counter() - started))
    return sorted(times)[len(times) // 2]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench reader", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("squad", type=Path, nargs="?", help="dev-v1.1.json, or the same as .jsonl or .jsonl.xz")
    parser.add_argument("--reader", default="", help="an exported reader; by default the one in the package")
    parser.add_argument("--against", help="a second reader to compare with")
    parser.add_argument("--questions", type=int, default=600, help="how many, drawn with seed 0 (0 for all)")
    parser.add_argument("--facts", type=int, default=200, help="how many invented facts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    folders = [given.reader, *([] if given.against is None else [given.against])]
    named = [Path(folder).name or "(package)" for folder in folders]
    loaded = [load_reader(folder, device=given.device, threads=given.threads) for folder in folders]
    readers = list(zip(named, loaded, strict=True))
    print(f"{given.facts} invented facts, each beside five passages like the right one")
    print(f"{'reader':<24}{'exact':>7}{'first':>7}{'AUROC':>12}")
    for name, reader in readers:
        facts = told(reader, given.facts)
        print(f"{name:<24}{facts.exact:>7.1f}{facts.first:>7.1f}{facts.area:>12.3f}", flush=True)
    if given.squad:
        compare(readers, given.squad, given.questions, f"{given.device}, {given.threads} threads")


def compare(readers: Sequence[tuple[str, Reader]], squad: Path, questions: int, where: str) -> None:
    """Prints what each reader makes of the same SQuAD questions."""
    everything = list(cases(squad))
    sample = random.Random(0).sample(everything, questions) if questions else everything
    print(f"{len(sample)} questions, each with the paragraph that answers; {where}")
    print(f"{'reader':<24}{'EM':>7}{'F1':>7}{'ms/passage':>12}{f'ms/{TIMED_PASSAGES} passages':>16}")
    outcomes = []
    for name, reader in readers:
        outcome, timed = judged(reader, sample), per_call(reader, sample)
        numbers = f"{outcome.exact:>7.1f}{outcome.f1:>7.1f}{outcome.milliseconds:>12.1f}{timed:>16.0f}"
        print(f"{name:<24}{numbers}", flush=True)
        outcomes.append(outcome)
    if len(outcomes) > 1:
        same = sum(a == b for a, b in zip(*(outcome.spans for outcome in outcomes), strict=True))
        print(f"equal spans: {100 * same / len(sample):.1f} %")
