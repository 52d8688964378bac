"""Questions that two documents answer differently: one of them is out of date, or nothing tells which one holds.

Names and values are drawn apart from those of training, by seeds that it never uses; phrasings are those of training.
Where one is out of date its value is the question's `former` one; else a reply should tell both.
"""

from pathlib import Path
from random import Random

from app.eval.questions import Question
from app.eval.sets.built import Built, Part, in_stores, pages
from app.train.conflicts import Conflict, conflict

STORES, EACH = 10, 12


def conflicts(_: Path | None, out: Path) -> Built:
    """120 of them, and four documents for each."""
    return in_stores(out, map(_part, range(STORES * EACH)))


def _part(number: int) -> Part:
    made, store = _drawn(number), f"conflicts-{number % STORES}"
    passages = *(version.passage for version in made.versions), *made.others
    return Part(store, pages(number, passages), [_question(made, number, store)])


def _drawn(number: int) -> Conflict:
    """One whose versions do differ."""
    rng = Random(f"evaluation of conflicts {number}")
    made = conflict(rng)
    while made.versions[0].value.lower() == made.versions[1].value.lower():
        made = conflict(rng)
    return made


def _question(made: Conflict, number: int, store: str) -> Question:
    first, second = ((version.value.strip(),) for version in made.versions)
    former, also = (second, ()) if made.settled else ((), second)
    file = f"{number:03}-0.md"
    return Question(
        f"conflict-{number}", made.question, "fact", first, True, file, None, former=former, also=also, store=store
    )
