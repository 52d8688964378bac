"""Questions that lean on the one before: "And what does it weigh?", "And for interns?".

What is to be searched for are words of both, joined in the order in which they read best.
"""

from dataclasses import dataclass
from random import Random

from app.train.worlds import Attribute, Fact, Page

NAMED = ["And {s}?", "And {s}?", "What about {s}?", "How about {s}?", "and {s}", "Same question for {s}.", "{s}?",
         "Thanks. And {s}?", "What is it for {s}?", "And with {s}?"]  # fmt: skip
UNDER = ["And {c}?", "And {c}?", "What about {c}?", "and {c}", "How is it {c}?", "{c}?", "Thanks, and {c}?"]
LEAD_INS = ["", "", "And ", "and ", "Thanks. ", "OK, ", "One more: "]
PRONOUNS = ["it", "it", "it", "this", "that", "this one"]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """`before` was asked and answered with `answer`; the fact's question leans on it. `query` has words of both."""

    before: str
    answer: str
    query: str
    fact: Fact


def follow_up(rng: Random) -> FollowUp:
    """A fresh one: of the same thing, of its like, or of the same under another condition."""
    while True:
        page = Page(rng)
        if page.condition:
            return _under_another(rng, page)
        if page.subject:
            return rng.choice((_of_the_same, _of_its_like, _named_again))(rng, page)


def _of_the_same(rng: Random, page: Page) -> FollowUp:
    """Another of its attributes, asked for with a pronoun."""
    known, asked = page.take(), page.take()
    before = rng.choice(known.questions).format(s=page.subject)
    question = _lowered(rng.choice(LEAD_INS), rng.choice(asked.questions).format(s=rng.choice(PRONOUNS)))
    return _made(page, asked, before, known.draw(rng), question, f"{_plain(question)} {page.subject}")


def _of_its_like(rng: Random, page: Page) -> FollowUp:
    """The same attribute, of another thing that is only named."""
    asked = page.take()
    templates = [q for q in asked.questions if q.rstrip("?. ").endswith("{s}") and q.count("{s}") == 1]
    template = rng.choice(templates or [f"What is the {asked.column.lower()} of {{s}}?"])
    question = rng.choice(NAMED).format(s=page.subject)
    query = template.rstrip("?. ").format(s=page.subject)
    return _made(page, asked, template.format(s=page.rival), asked.draw(rng), question, query)


def _named_again(rng: Random, page: Page) -> FollowUp:
    """Another attribute of the thing by its name: nothing is missing."""
    known, asked = page.take(), page.take()
    question = rng.choice(asked.questions).format(s=page.subject)
    return _made(page, asked, rng.choice(known.questions).format(s=page.subject), known.draw(rng), question, question)


def _under_another(rng: Random, page: Page) -> FollowUp:
    """The same attribute under a condition that is only named."""
    asked, here, other = page.take(), page.condition, page.conditions[0]
    if here is None:
        raise ValueError("a page without a condition")
    plain = rng.choice(asked.questions).format(s=page.subject)
    before = other.asked(rng, plain)
    kept = before.replace(other.text, "") if before.endswith(f"{other.text}?") else before[len(other.text) + 1 :]
    question = rng.choice(UNDER).format(c=here.text)
    return _made(page, asked, before, asked.draw(rng), question, f"{kept.strip(' ?.')} {here.text}")


def _made(page: Page, asked: Attribute, before: str, value: str, question: str, query: str) -> FollowUp:
    passage, start, end = page.stating(asked)
    others = tuple(page.beside(asked) for _ in range(5))
    return FollowUp(before, f"The answer is {value} [1].", query, Fact(question, passage, start, end, others))


def _lowered(lead_in: str, question: str) -> str:
    small = question if question.startswith(("I ", "I'")) else question[0].lower() + question[1:]
    return lead_in + small if lead_in and not lead_in.endswith(". ") else lead_in + question


def _plain(question: str) -> str:
    """Without what only leads in, and without its mark."""
    for lead_in in filter(None, LEAD_INS):
        question = question.removeprefix(lead_in)
    return question.rstrip(" ?.")
