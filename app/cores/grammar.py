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
    """A well-formed expression with the numbers of a source, and with those that people leave unsaid."""

    source: str


@dataclass(frozen=True, slots=True)
class Free:
    """Any text up to the end token."""


Segment = Literal | Span | Arithmetic | Free
Alternative = tuple[Segment, ...]
Grammar = tuple[Alternative, ...]

THINK = "<think>\n{}\n</think>\n\n"
CALL = '<tool_call>\n{{"name": "{}", "arguments": {{"{}": "'
CALL_END = '"}}\n</tool_call>'
SEARCH = THINK.format("I must look this up.") + CALL.format("search_memory", "query")
CALCULATE = THINK.format("This needs the calculator.") + CALL.format("calculate", "expression")
TALK = THINK.format("No lookup is needed.")
FOUND = THINK.format("[{0}] answers this.") + "The answer is"
CITE = " [{0}]."
ABSENT = THINK.format("No passage answers this.") + "I do not know: nothing in the memory answers this."
RESULT = THINK.format("The calculator has answered.") + "The answer is"


def escaped(text: str) -> str:
    """The text as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def first_round(user: str, past: Sequence[str] = (), *, search: bool = True, others: bool = True) -> Grammar:
    """Look it up with words of the user's message, calculate with its numbers, or just talk.

    A message may lean on the one before: words of an earlier one may stand before or after its own in the query.
    """
    asked = escaped(user)
    queries: list[Alternative] = [(Span(asked),)]
    for said in map(escaped, past):
        queries += [(Span(asked), Span(said, spaced=True)), (Span(said), Span(asked, spaced=True))]
    searches = tuple((Literal(SEARCH), *query, Literal(CALL_END)) for query in queries)
    return (searches if search else ()) + ((*calculation(user), *talk()) if others else ())


def calculation(user: str) -> Grammar:
    """Calculate with the numbers of the user's message."""
    return ((Literal(CALCULATE), Arithmetic(user), Literal(CALL_END)),)


def talk() -> Grammar:
    """Just talk."""
    return ((Literal(TALK), Free()),)


def judge(excerpts: Sequence[str], *, found: bool = True, absent: bool = True) -> Grammar:
    """Answer with a span of one excerpt and cite it, or say that none answers. Excerpts are numbered from 1."""
    answers = tuple(
        (Literal(FOUND.format(n)), Span(excerpt, spaced=True), Literal(CITE.format(n)))
        for n, excerpt in enumerate(excerpts, 1)
    )
    return (answers if found else ()) + (((Literal(ABSENT),),) if absent else ())


def conclude(result: str) -> Grammar:
    """State the calculator's result."""
    return ((Literal(RESULT), Literal(" " + result), Literal(".")),)
