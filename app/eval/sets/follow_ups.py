"""Questions that lean on the one before, about invented facts whose names and values training never drew.

Each fact's passage and those like it are documents, in ten stores: in one, two facts of a handbook could contradict
each other. Phrasings are those of training, as in unseen_worlds.
"""

from dataclasses import replace
from pathlib import Path
from random import Random

from app.eval.questions import Question, save
from app.eval.sets.built import QUESTIONS, Built, fresh, page
from app.train.followups import follow_up

STORES, EACH = 10, 15


def follow_ups(_: Path | None, out: Path) -> Built:
    """150 of them, and six documents for each."""
    folder, asked, count, stores = fresh(out), list[Question](), 0, [f"follow-ups-{n}" for n in range(STORES)]
    for n, store in enumerate(stores * EACH):
        made = follow_up(Random(f"evaluation follow-up {n}"))
        fact = made.fact
        (folder / store).mkdir(exist_ok=True)
        for k, passage in enumerate((fact.passage, *fact.others)):
            (folder / store / f"{n:03}-{k}.md").write_text(page(passage), "utf-8")
            count += 1
        answers = (fact.passage.text[fact.start : fact.end].strip(),)
        question = Question(f"follow-up-{n}", fact.question, "fact", answers, True, f"{n:03}-0.md", None, store=store)
        asked.append(replace(question, past=(made.before, made.answer)))
    save(asked, out / QUESTIONS)
    return Built(folder, count, out / QUESTIONS, tuple(stores))
