"""Real questions with one word changed, so that the paragraph which answered them no longer does."""

import re
from collections.abc import Sequence
from random import Random

from app.train.sources import Question, Sources

WORD = re.compile(r"[a-z]{4,}")
# What a question asks for: which language was, how many seats does. Not "what kind of", which may be anything.
SORT = re.compile(
    r"\b(what|which|how many|how much) ([a-z]{4,}) (?=(?:are|can|did|do|does|had|has|have|is|was|were|will|would)\b)",
    re.IGNORECASE,
)
ANY = frozenset("else kind name object other part sort term thing title type word".split())
ARTICLES = frozenset(("a", "an", "the"))
AFTER = frozenset(
    "at be by did does for from has have in into is of on that to used was were when which who with".split()
)
STEM = 5  # letters: what begins alike may mean the same


class Alterations:
    """The words come from other questions: those that ask for something, and those of the same article."""

    def __init__(self, sources: Sources, questions: Sequence[Question]) -> None:
        self._sources = sources
        self._sorts: dict[str, list[str]] = {}
        self._between: dict[tuple[int, str, str], list[str]] = {}
        for item in questions:
            asked = SORT.search(item.question)
            if asked and asked[2] not in ANY:
                self._sorts.setdefault(asked[1].lower(), []).append(asked[2])
            for before, word, after in _places(item.question):
                self._between.setdefault((sources.articles[item.paragraph], before, after), []).append(word)

    def draw(self, rng: Random, item: Question) -> str | None:
        """It asks for another kind of thing, or about another thing; None where no word fits."""
        return self._of_other_sort(rng, item) if rng.random() < 0.5 else self._of_another(rng, item)

    def _of_other_sort(self, rng: Random, item: Question) -> str | None:
        asked = SORT.search(item.question)
        if not asked or asked[2] in ANY:
            return None
        word = rng.choice(self._sorts[asked[1].lower()])
        if self._said(word, item):
            return None
        return item.question[: asked.start(2)] + word + item.question[asked.end(2) :]

    def _of_another(self, rng: Random, item: Question) -> str | None:
        """A thing that ties the question to the passage gives way to one that another names between the same words."""
        text, article = self._sources.paragraphs[item.paragraph], self._sources.articles[item.paragraph]
        ties = [place for place in _places(item.question) if _stated(place[1], text)]
        rng.shuffle(ties)
        for before, word, after in ties:
            others = [w for w in self._between[article, before, after] if not self._said(w, item)]
            if others:
                old, new = (" ".join((before, w, after)).strip() for w in (word, rng.choice(others)))
                return item.question.replace(old, new, 1)
        return None

    def _said(self, word: str, item: Question) -> bool:
        return _stated(word, f"{item.question} {self._sources.paragraphs[item.paragraph]}")


def _places(question: str) -> list[tuple[str, str, str]]:
    """The things that a question names with an article: each between the words beside it, "" where it ends."""
    words = [*question.rstrip(" ?.").split(" "), ""]
    places = zip(words, words[1:], words[2:], strict=False)
    return [p for p in places if p[0] in ARTICLES and WORD.fullmatch(p[1]) and (p[2] in AFTER or not p[2])]


def _stated(word: str, text: str) -> bool:
    """Whether the text has a word that begins like it."""
    return re.search(rf"\b{re.escape(word[:STEM])}", text, re.IGNORECASE) is not None
