"""Questions about what they only describe, in invented worlds: one passage names it, another answers.

Each world is a store of its own. Names and values are drawn apart from those of training, by seeds that it never uses;
phrasings are those of app/train/chains.toml. The server must allow two searches a turn, as it does by default. Recall
is the first search's, so that it says how many of the questions one search would do for.
"""

from pathlib import Path
from random import Random

from app.eval.questions import Question
from app.eval.sets.built import Built, Part, in_stores
from app.train.chains import Asked, World, world

WORLDS = 5
ANSWERED, OPEN = 30, 10  # questions about each: that two passages answer, and that none do


def two_hop(_: Path | None, out: Path) -> Built:
    """Of each world twelve documents and 40 questions, a quarter of which have no answer."""
    return in_stores(out, map(_part, range(WORLDS)))


def _part(number: int) -> Part:
    rng = Random(f"evaluation of chains {number}")
    made, store = world(rng), f"two-hop-{number}"
    return Part(store, made.documents, [_question(made, one, store, k) for k, one in enumerate(_drawn(rng, made))])


def _drawn(rng: Random, made: World) -> list[Asked]:
    """Those that describe what they ask about, and that no single passage answers."""
    passages = [text for document in made.documents.values() for text in document.split("\n\n")]
    unlike = {asked.question: asked for asked in made.asked if asked.around}.values()
    several = [asked for asked in unlike if not any(map(asked.answered_by, passages))]
    answered = [asked for asked in several if asked.fact and asked.link]
    left = [asked for asked in several if not (asked.fact and asked.link)]
    return [*rng.sample(answered, ANSWERED), *rng.sample(left, OPEN)]


def _question(made: World, asked: Asked, store: str, number: int) -> Question:
    identifier = f"{store}-{number}"
    if asked.fact is None or asked.link is None:
        return Question(identifier, asked.question, "unanswerable", (), True, None, None, store=store)
    sentence = asked.fact.sentence
    file = next(name for name, text in made.documents.items() if sentence in text)
    return Question(identifier, asked.question, "fact", (asked.fact.value,), True, file, sentence, store=store)
