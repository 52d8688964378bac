"""Questions about six invented organisations, each a store of its own, and about what their documents leave open.

Names and values are drawn apart from those of training, by seeds that it never uses. Phrasings are those of training:
the patterns of statements and questions in app/train/schemas. So this measures new facts, not new language; with the
schemas the set changes.
"""

from pathlib import Path
from random import Random

from app.eval.questions import Kind, Question
from app.eval.sets.built import Built, Part, in_stores
from app.train.organisations import Asked, Organisation, organisation

ORGANISATIONS = 6
EACH = 50


def unseen_worlds(_: Path | None, out: Path) -> Built:
    """Of each organisation six documents and 50 questions; a little less than half of these have no answer."""
    return in_stores(out, map(_part, range(ORGANISATIONS)))


def _part(number: int) -> Part:
    rng = Random(f"evaluation {number}")
    made, store = organisation(rng), f"unseen-world-{number}"
    unlike = list({one.question: one for one in made.asked}.values())
    asked = [_question(made, one, store, k) for k, one in enumerate(rng.sample(unlike, EACH))]
    return Part(store, made.documents, asked)


def _question(made: Organisation, asked: Asked, store: str, number: int) -> Question:
    identifier = f"{store}-{number}"
    if not asked.evidence:
        return Question(identifier, asked.question, "unanswerable", (), True, None, None, store=store)
    kind: Kind = "table" if len(asked.evidence) > 1 else "fact"
    file, evidence = _row(made, asked) if kind == "table" else _sentence(made, *asked.evidence)
    return Question(identifier, asked.question, kind, (asked.value,), True, file, evidence, store=store)


def _sentence(made: Organisation, sentence: str) -> tuple[str, str]:
    return next(file for file, text in made.documents.items() if sentence in text), sentence


def _row(made: Organisation, asked: Asked) -> tuple[str, str]:
    """The file and the whole row: the cells before the value tell whose it is."""
    begins = f"| {asked.evidence[0].partition(': ')[2]} |"
    for file, text in made.documents.items():
        for line in text.splitlines():
            if line.startswith(begins) and f"| {asked.value} |" in line:
                return file, line.strip("| ")
    raise ValueError(f"no table holds {asked.evidence}")
