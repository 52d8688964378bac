"""What a constrained core may write, as alternatives of segments; and the embedded core's own protocol in it.

The same phrases make its training rows and its decode masks, so that the two cannot drift apart.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A contiguous stretch of a source: from a word's start to a word's end, with one leading space if `spaced`."""

    source: str
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A well-formed expression with the numbers of a source, and with those that people leave unsaid.

    `implied`: of these only what words of the source imply.
    """

    source: str
    implied: bool = False


@dataclass(frozen=True, slots=True)
class Free:
    """Any text up to the end token."""


Segment = Literal | Span | Arithmetic | Free
Alternative = tuple[Segment, ...]
Grammar = tuple[Alternative, ...]

THINK = "<think>\n{}\n</think>\n\n"
CALL = '<tool_call>\n{{"name": "{}", "arguments": {{"{}": "'
CALL_END = '"}}\n</tool_call>'
QUERY = CALL.format("search_memory", "query")
SEARCH = THINK.format("I must look this up.") + QUERY
SUM = CALL.format("calculate", "expression")
CALCULATE = THINK.format("This needs the calculator.") + SUM
TALK = THINK.format("No lookup is needed.")
ANSWER = "The answer is"
FOUND = THINK.format("[{0}] answers this.") + ANSWER
LEADS = THINK.format("On from [{0}].")
AGAIN = THINK.format("Again, in other words.")
RECKONS = THINK.format("With [{0}] I can calculate.")
UNKNOWN = "I do not know: nothing in the memory answers this."
ABSENT = THINK.format("No passage answers this.") + UNKNOWN
RESULT = THINK.format("The calculator has answered.") + ANSWER


def escaped(text: str) -> str:
    """The text as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def unescaped(text: str) -> str:
    """The text that stands so inside a JSON string."""
    return str(json.loads(f'"{text}"'))


def cite(*passages: int) -> str:
    """What ends an answer: the passage that gives it, after those that led to it."""
    return f" {''.join(f'[{n}]' for n in passages)}."


def but(passage: int) -> str:
    """What stands between an answer and what another passage says instead."""
    return f" [{passage}], but another passage says"


def first_round(user: str, past: Sequence[str] = (), *, search: bool = True, others: bool = True) -> Grammar:
    """Look it up with words of the user's message, calculate with its numbers, or just talk.

    A message may lean on the one before: words of an earlier one may stand before or after its own in the query.
    """
    searches = _searches(SEARCH, user, past) if search else ()
    return searches + ((*calculation(user), *talk()) if others else ())


def again(user: str, past: Sequence[str] = ()) -> Grammar:
    """Search once more, where a query found nothing that answers: with other words of the messages."""
    return _searches(AGAIN + QUERY, user, past)


def _searches(opening: str, user: str, past: Sequence[str]) -> Grammar:
    asked = escaped(user)
    queries: list[Alternative] = [(Span(asked),)]
    for said in map(escaped, past):
        queries += [(Span(asked), Span(said, spaced=True)), (Span(said), Span(asked, spaced=True))]
    return tuple((Literal(opening), *query, Literal(CALL_END)) for query in queries)


def calculation(user: str) -> Grammar:
    """Calculate with the numbers of the user's message."""
    return ((Literal(CALCULATE), Arithmetic(user), Literal(CALL_END)),)


def talk() -> Grammar:
    """Just talk."""
    return ((Literal(TALK), Free()),)


def judge(
    excerpts: Sequence[str],
    *,
    first: int = 1,
    via: Sequence[int] = (),
    found: bool = True,
    differ: Sequence[tuple[int, int]] = (),
    absent: bool = True,
) -> Grammar:
    """Answer with a span of one excerpt and cite it, or say that none answers.

    Excerpts are numbered from `first`; `via` are those of earlier searches that led to this one. Where two `differ`
    (counted from 0), an answer from the first can go on with what the second says instead.
    """
    answers: list[Alternative] = []
    for n, *others in answering(len(excerpts), differ) if found else ():
        answer = Literal(FOUND.format(first + n)), Span(excerpts[n], spaced=True)
        if others:
            m = others[0]
            answers.append((*answer, Literal(but(first + n)), Span(excerpts[m], spaced=True), Literal(cite(first + m))))
        else:
            answers.append((*answer, Literal(cite(*via, first + n))))
    return (*answers, *(((Literal(ABSENT),),) if absent else ()))


def answer(words: str, passage: int, via: Sequence[int] = ()) -> tuple[Literal, ...]:
    """The one of `judge`'s answers that gives these words of this passage."""
    return Literal(FOUND.format(passage)), Literal(f" {words}"), Literal(cite(*via, passage))


def answering(excerpts: int, differ: Sequence[tuple[int, int]] = ()) -> list[tuple[int, ...]]:
    """The excerpts, counted from 0, that each of the alternatives of `judge` takes its answer from."""
    return [*((n,) for n in range(excerpts)), *differ]


def lead(user: str, excerpts: Sequence[str], first: int = 1) -> Grammar:
    """Search again, from one excerpt on: words of the user's message with the excerpt's after or among them."""
    asked = escaped(user)
    return tuple(
        (Literal(LEADS.format(n) + QUERY), Span(asked), Span(escaped(excerpt), spaced=True), *rest, Literal(CALL_END))
        for n, excerpt in enumerate(excerpts, first)
        for rest in ((), (Span(asked, spaced=True),))
    )


def reckon(user: str, excerpts: Sequence[str], first: int = 1) -> Grammar:
    """Calculate with the numbers of one excerpt and of the user's message."""
    return tuple(
        (Literal(RECKONS.format(n) + SUM), Arithmetic(f"{user}\n{excerpt}", implied=True), Literal(CALL_END))
        for n, excerpt in enumerate(excerpts, first)
    )


def conclude(result: str, *passages: int) -> Grammar:
    """State the calculator's result, and the passages that gave its numbers."""
    return ((Literal(RESULT), Literal(" " + result), Literal(cite(*passages) if passages else ".")),)
