"""Questions that lean on the one before, about invented facts whose names and values training never drew.

Each fact's passage and those like it are documents, in ten stores: in one, two facts of a handbook could contradict
each other. Phrasings are those of training, as in unseen_worlds.
"""

from dataclasses import replace
from pathlib import Path
from random import Random

from app.eval.questions import Question
from app.eval.sets.built import Built, Part, in_stores, pages
from app.train.followups import follow_up

STORES, EACH = 10, 15


def follow_ups(_: Path | None, out: Path) -> Built:
    """150 of them, and six documents for each."""
    return in_stores(out, map(_part, range(STORES * EACH)))


def _part(number: int) -> Part:
    made = follow_up(Random(f"evaluation follow-up {number}"))
    fact, store, file = made.fact, f"follow-ups-{number % STORES}", f"{number:03}-0.md"
    answers = (fact.passage.text[fact.start : fact.end].strip(),)
    question = Question(f"follow-up-{number}", fact.question, "fact", answers, True, file, None, store=store)
    asked = replace(question, past=(made.before, made.answer))
    return Part(store, pages(number, (fact.passage, *fact.others)), [asked])
