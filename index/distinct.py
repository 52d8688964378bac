"""Hits that say the same as a better one are left out for it, and counted there.

The same is said by a passage whose words stand in the better one, in their order and without a gap; case, spaces and
most punctuation aside (words.py). One word more may be the one that counts (a "not", another year), so almost the same
words are enough only where the reader marks the same answer in both, where numbers and operators are the same, and
where no word that the better one lacks was asked for. Other headings make it another thing, and of a short passage
another title too: "Seats: 25." may be told of many.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import PurePath

from index.types import Chunk, Hit
from index.words import spelled, words_of

SHORT = 20  # words
BEGINNING = 100  # characters whose words are looked for first
SHINGLE, ALMOST = 3, 0.9  # words in a row; the share of such rows that both passages have
PIECE = re.compile(r"[^\W_]+")
FIGURE = re.compile(r"(?<!\S)(?:\S*\d\S*|[^\w\s]+(?!\S))")


def distinct(hits: Iterable[Hit], asked: str = "", most: int | None = None) -> list[Hit]:
    """The hits, best first, without those that say the same as one before; `most` at most."""
    kept, alike = list[_Said](), list[int]()
    for hit in hits:
        said = _Said(hit)
        known = next((i for i, better in enumerate(kept) if said.adds_nothing_to(better, asked)), None)
        if known is not None:
            alike[known] += 1 + hit.alike
        elif len(kept) == most:
            break
        else:
            kept.append(said)
            alike.append(hit.alike)
    return [
        said.hit if said.hit.alike == count else replace(said.hit, alike=count)
        for said, count in zip(kept, alike, strict=True)
    ]


class _Said:
    """A hit, its words with a space around each, and those that the reader marked."""

    def __init__(self, hit: Hit) -> None:
        self.hit = hit

    @cached_property
    def folded(self) -> str:
        return self.hit.chunk.text.casefold()

    @cached_property
    def beginning(self) -> list[str]:
        """What stands wherever its words do, the last perhaps cut: to look for it costs less than to make `words`."""
        return PIECE.findall(self.folded[:BEGINNING])

    @cached_property
    def words(self) -> str:
        return spelled(self.folded)

    @cached_property
    def answer(self) -> list[str]:
        mark = self.hit.mark
        return words_of(self.hit.chunk.text[mark.start : mark.end].casefold()) if mark else []

    @cached_property
    def shingles(self) -> set[tuple[str, ...]]:
        words = self.words.split()
        return set(zip(*(words[i:] for i in range(SHINGLE)), strict=False))

    @cached_property
    def figures(self) -> str:
        """The words that are numbers or operators, with a space around each."""
        return f" {' '.join(FIGURE.findall(self.words))} "

    def adds_nothing_to(self, better: "_Said", asked: str) -> bool:
        mine, other = self.hit.chunk, better.hit.chunk
        if mine.headings != other.headings:
            return False
        same = self.folded == better.folded or (
            all(word in better.folded for word in self.beginning) and self.words in better.words
        )
        if not (same or self._almost(better, asked)) or not any(map(str.isalnum, self.folded)):
            return False
        return _title(mine) == _title(other) or self.words.count(" ") > SHORT

    def _almost(self, better: "_Said", asked: str) -> bool:
        if not self.answer or self.answer != better.answer or self.figures not in better.figures:
            return False
        shared = len(self.shingles & better.shingles)
        lacking = {word for row in self.shingles - better.shingles for word in row} - set(better.words.split())
        return shared >= ALMOST * len(self.shingles) > 0 and not _named(" ".join(lacking)) & _named(asked.casefold())


def _title(chunk: Chunk) -> str:
    return PurePath(chunk.filename).stem


def _named(text: str) -> set[str]:
    """Its words and the parts of these: who asks for 2024 asks for 2024-05-01 too."""
    return {*words_of(text), *PIECE.findall(text)}
