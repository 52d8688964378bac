"""Drills: random words in the format of turns, so that nothing but copying helps."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from app.agent.expression import numbers
from app.train.rows import Row, Turns
from app.train.searches import hit_of
from app.train.sums import in_words, number
from app.train.values import word
from index.types import Hit, Mark

SIGNS = "+-*/"


class Drills:
    """Draws them by kind, of the given words and invented ones."""

    def __init__(self, turns: Turns, words: Sequence[str]) -> None:
        self.turns, self.words = turns, words
        # Those that are no number, and make none of what stands beside them.
        self.wordy = [one for one in words if not numbers(one) and numbers(f"one {one} two") == {"1", "2"}]
        self.kinds: Mapping[str, Callable[[Random], Row]] = {
            "repeat": self.repeat,
            "point": self.point,
            "operands": self.operands,
            "digits": self.digits,
        }

    def repeat(self, rng: Random) -> Row:
        """A message of random words, searched for word by word."""
        text = " ".join(self._nonsense(rng) for _ in range(rng.randint(3, 14)))
        return self.turns.search((), text, text)[0]

    def point(self, rng: Random) -> Row:
        """Passages of random words: say the marked words of the one with the highest digit, or none if all are low."""
        texts = [[self._nonsense(rng) for _ in range(rng.randint(4, 12))] for _ in range(rng.randint(1, 4))]
        best = rng.randrange(len(texts)) if rng.random() < 0.6 else -1
        hits, span = [], ""
        for n, words in enumerate(texts):
            at = rng.randrange(len(words))
            length = rng.randint(1, min(4, len(words) - at))
            hits.append(_hit(rng, words, at, length, n == best))
            span = " ".join(words[at : at + length]) if n == best else span
        question = " ".join(self._nonsense(rng) for _ in range(rng.randint(2, 6)))
        return self.turns.read((), question, question, hits, (best + 1, span) if span else None)

    def operands(self, rng: Random) -> Row:
        """Passages of random words: calculate with the marked number of the one with the highest digit and another.

        The other stands in the message, before the sign or after it, as it does in the sum; or else in the same
        passage, and the marked one comes first. The two differ: to write one of them twice is wrong.
        """
        count, sign = rng.randint(1, 4), rng.choice(SIGNS)
        best, message = rng.randrange(count), self._words(rng, 1, 4)
        marked, other = _different(rng)
        place = rng.choice(("before", "after", "passage"))
        first, second = (other, marked) if place == "before" else (marked, other)
        spoken = {"before": [other, sign], "after": [sign, other], "passage": [sign]}[place]
        hits = []
        for n in range(count):
            words = self._words(rng, 3, 10)
            if place == "passage":
                words.insert(rng.randint(0, len(words)), other if n == best else number(rng))
            at = rng.randint(0, len(words))
            words.insert(at, marked if n == best else number(rng))
            hits.append(_hit(rng, words, at, min(rng.randint(1, 2), len(words) - at), n == best))
        at = rng.randint(0, len(message))
        question = " ".join([*message[:at], *spoken, *message[at:]])
        return self.turns.reckon((), question, question, hits, best + 1, f"{first} {sign} {second}")

    def digits(self, rng: Random) -> Row:
        """Numbers in words, with signs between them and random words around: a sum to be written in digits."""
        said, expression = list[str](), ""
        for n in range(rng.choice((2, 2, 3))):
            value, sign = rng.randint(13, 99) if rng.random() < 0.7 else rng.randint(2, 9999), rng.choice(SIGNS)
            spelled = in_words(value, rng.choice((" and ", " and ", " ")))
            said += [sign] * bool(n) + [*self._words(rng, 0, 2), spelled, *self._words(rng, 0, 2)]
            expression += f" {sign} {value}" if n else str(value)
        return self.turns.calculate((), " ".join(said), expression)

    def _nonsense(self, rng: Random) -> str:
        roll = rng.random()
        if roll < 0.7:
            return rng.choice(self.words)
        return str(rng.randint(0, 9999)) if roll < 0.8 else word(rng).capitalize()

    def _words(self, rng: Random, least: int, most: int) -> list[str]:
        """Without numbers."""
        count = rng.randint(least, most)
        return [rng.choice(self.wordy) if rng.random() < 0.7 else word(rng).capitalize() for _ in range(count)]


def _different(rng: Random) -> tuple[str, str]:
    one = other = number(rng)
    while one.replace(",", "") == other.replace(",", ""):
        other = number(rng)
    return one, other


def _hit(rng: Random, words: Sequence[str], at: int, length: int, best: bool) -> Hit:
    """A passage of the words, some of them marked."""
    start = sum(len(w) + 1 for w in words[:at])
    end = start + len(" ".join(words[at : at + length]))
    probability = rng.uniform(0.6, 1.0) if best else rng.uniform(0.0, 0.4)
    return hit_of(" ".join(words), Mark(start, end, probability))
