"""Ratios of what was measured in turn, in the same run: a noisy machine is noisy to both sides of a repetition."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from app.bench.peers import Text
from app.engine.config import read_config
from app.engine.load import DType
from app.engine.packed import Halved

AGREE = 0.9
"""How many texts must be the same on both sides: at a near tie the last bits decide, and no side has these right."""


class Disagree(Exception):
    """The two sides have not done the same, so that neither may be called faster."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A line of the table. `ours` and `theirs` are one number for each repetition; `same` is the share of texts that
    both sides wrote alike, None where they cannot be compared."""

    row: int
    core: str
    what: str
    wanted: str
    ours: Sequence[float]
    theirs: Sequence[float]
    same: float | None

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    def line(self) -> str:
        numbers = f"{_number(median(self.ours)):>9}{_number(median(self.theirs)):>9}{median(self.ratios):>8.2f}"
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        same = "-" if self.same is None else f"{100 * self.same:.0f} %"
        runs = len(self.ratios)
        return f"{self.row:<4}{self.core:<8}{self.what:<68}{numbers}{spread:>16}{self.wanted:>8}{runs:>5}{same:>7}"


HEAD = (
    f"{'row':<4}{'core':<8}{'what, ours over theirs':<68}{'ours':>9}{'theirs':>9}"
    f"{'ratio':>8}{'spread':>16}{'wanted':>8}{'runs':>5}{'same':>7}"
)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked of a core, and in which dtype each side runs it."""

    core: str
    folder: Path
    device: str
    threads: int
    dtype: DType
    theirs: DType
    streams: int
    context: int
    tokens: int
    prompt: int
    cached: int

    @property
    def long(self) -> int:
        """The long prompt's length: one token must fit after it."""
        return min(self.prompt, read_config(self.folder).context - 1)

    @property
    def exact(self) -> bool:
        """Whether our side runs in full precision, so that rounding alone can hardly change what is written."""
        return self.device == "cpu" and (self.dtype == "float32" or not Halved.there)

    def drawn(self, count: int, length: int, seed: object) -> list[list[int]]:
        """Prompts of any ids: what they say changes no time."""
        vocabulary = range(read_config(self.folder).vocab_size)
        return [random.Random(f"{seed} {n}").choices(vocabulary, k=length) for n in range(count)]


class Budget:
    """`repeats` repetitions after one to warm up, and fewer, but one at least, where time is over sooner."""

    def __init__(self, repeats: int, until: float) -> None:
        self.repeats, self.until = repeats, until

    def runs(self) -> Iterator[tuple[int, bool]]:
        """The number of each run, and whether it counts."""
        yield 0, False
        for number in range(1, self.repeats + 1):
            if number > 1 and time.monotonic() > self.until:
                return
            yield number, True


def agreed(ours: Sequence[Text], theirs: Sequence[Text], exact: bool) -> float:
    """The share of texts that begin alike, as far as both go. Raises Disagree where too few do, if both are `exact`."""
    pairs = [list(zip(a, b, strict=False)) for a, b in zip(ours, theirs, strict=True)]
    same = sum(all(a[0] == b[0] for a, b in text) for text in pairs) / len(pairs)
    if exact and same < AGREE:
        raise Disagree(f"only {100 * same:.0f} % of the texts are the same on both sides")
    return same


def steady(written: Sequence[Text]) -> float:
    """Tokens per second while all are writing: from the last one's first token to the first one's last."""
    began, ended = max(text[0][1] for text in written), min(text[-1][1] for text in written)
    if ended <= began:
        raise Disagree("the texts were not written side by side: ask for more --tokens")
    return sum(began < at <= ended for text in written for _, at in text) / (ended - began)


def gaps(written: Sequence[Text], began: float, ended: float) -> list[float]:
    """Seconds between neighbouring tokens, where some of the time from `began` to `ended` lies between them."""
    pairs = [pair for text in written for pair in pairwise(at for _, at in text)]
    return [after - before for before, after in pairs if after > began and before < ended]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
