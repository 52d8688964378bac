"""Questions whose answer is a sum over a number in a passage, about things whose names and numbers training never drew.

Phrasings are those of app/train/reckonings.toml. A reply is right when it gives what the sum comes to.
"""

from pathlib import Path
from random import Random

from app.agent.tools import calculate
from app.eval.questions import Kind, Question
from app.eval.sets.built import Built, Part, in_stores
from app.train.reckonings import Page, Reckoning, page

STORES, PAGES = 10, 8
SUMS, PLAIN, OPEN = 12, 3, 5  # questions to each store: sums, what stands there as it is, and sums that nothing gives


def reckonings(_: Path | None, out: Path) -> Built:
    """Of each of ten stores eight pages and 20 questions."""
    return in_stores(out, map(_part, range(STORES)))


def _part(number: int) -> Part:
    rng, store = Random(f"evaluation of reckonings {number}"), f"reckonings-{number}"
    pages = {f"{k}.md": page(rng) for k in range(PAGES)}
    asked = [_question(pages, one, store, k) for k, one in enumerate(_drawn(rng, pages))]
    return Part(store, {name: made.text for name, made in pages.items()}, asked)


def _drawn(rng: Random, pages: dict[str, Page]) -> list[Reckoning]:
    every = list({one.question: one for made in pages.values() for one in made.asked}.values())
    sums = [one for one in every if one.expression]
    stated = [one for one in sums if one.sentence]
    plain = [one for one in every if one.sentence and not one.expression]
    left = [one for one in sums if one.sentence is None]
    return [*rng.sample(stated, SUMS), *rng.sample(plain, PLAIN), *rng.sample(left, OPEN)]


def _question(pages: dict[str, Page], asked: Reckoning, store: str, number: int) -> Question:
    identifier, sentence = f"{store}-{number}", asked.sentence
    if sentence is None:
        return Question(identifier, asked.question, "unanswerable", (), True, None, None, store=store)
    file = next(name for name, made in pages.items() if sentence in made.text)
    answer = calculate(asked.expression) if asked.expression else sentence[slice(*asked.span)]
    kind: Kind = "reckoning" if asked.expression else "fact"
    return Question(identifier, asked.question, kind, (answer,), True, file, sentence, store=store)
