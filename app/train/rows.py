"""Training rows of the embedded core: whole turns, in exactly the bytes that the server renders.

A row is token ids and a weight for each: 0 for what the core is shown, more for what it must get right.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.agent import confidence
from app.agent.prompt import Message, Renderer, show
from app.agent.tools import calculate
from app.cores import grammar
from index.types import Hit

LITERAL, VALUE, TERM, CHOICE = 1.0, 2.0, 5.0, 10.0
TERMS = re.compile(r" (?:\*\*|[-+*/%])(?= )|-?(?<![\d.,])[\d.]|(?<![a-z])[a-z]")
"""Of an expression its operators, and where its operands begin: the tokens that decide which sum it is."""

Answer = tuple[int, str]
"""The number of an excerpt, as it is shown, and the words of its span."""


@dataclass(slots=True)
class Row:
    """Token ids with the weight of each in the loss."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def show(self, ids: Sequence[int]) -> None:
        """Append what the core reads."""
        self.ids.extend(ids)
        self.weights.extend([0.0] * len(ids))

    def say(self, ids: Sequence[int], weight: float) -> None:
        """Append what the core writes."""
        self.ids.extend(ids)
        self.weights.extend([weight] * len(ids))


@dataclass(frozen=True, slots=True)
class Hop:
    """A further search: the excerpt that leads on and its words, the question's words around these, and what it finds.

    `around` are words of the question that come before and after the excerpt's in the query, the latter if there are.
    Without a `lead` the first query was a bad one, and `around` is a better.
    """

    lead: Answer | None
    around: tuple[str, str]
    hits: Sequence[Hit]

    @property
    def query(self) -> tuple[str, ...]:
        """Its parts, as they are joined."""
        before, after = self.around
        return tuple(part for part in (before, self.lead and " " + self.lead[1], after and " " + after) if part)


class Turns:
    """Builds rows with the server's renderer."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self.end = renderer.tokenizer.eos_token_id

    def search(self, past: Sequence[Message], user: str, query: str) -> tuple[Row, list[Message]]:
        """Round one of a lookup, and the conversation with its call."""
        messages, row = self._begin(past, user)
        self._write(row, grammar.SEARCH, (grammar.escaped(query),), grammar.CALL_END)
        return row, [*messages, _call("I must look this up.", "search_memory", query=query)]

    def read(
        self,
        past: Sequence[Message],
        user: str,
        query: str,
        hits: Sequence[Hit],
        answer: Answer | None,
        hop: Hop | None = None,
        other: Answer | None = None,
    ) -> Row:
        """A whole lookup, in one search or two. `other` is what another passage says. Without an answer it abstains."""
        row, _ = self.asked(past, user, query, hits, hop)
        if answer is None:
            self._verdict(row, None, grammar.ABSENT)
        else:
            number, span = answer
            parts: list[str | tuple[str]] = [(" " + span,)]
            if other:
                parts += [grammar.but(number), (" " + other[1],), grammar.cite(other[0])]
            else:
                parts.append(grammar.cite(*((hop.lead[0],) if hop and hop.lead else ()), number))
            written = len(row.ids)
            self._verdict(row, number, grammar.FOUND.format(number), *parts)
            if hop is None and len(hits) > 1:  # whether what another passage says is told: also one token
                ends = self._encode(grammar.cite(number)), self._encode(grammar.but(number))
                fork = next(n for n, ids in enumerate(zip(*ends, strict=False)) if ids[0] != ids[1])
                before = (grammar.FOUND.format(number), " " + span)
                row.weights[written + sum(len(self._encode(text)) for text in before) + fork] = CHOICE
        return row

    def reckon(
        self, past: Sequence[Message], user: str, query: str, hits: Sequence[Hit], number: int, expression: str
    ) -> Row:
        """A lookup, and a calculation with what one passage gives."""
        row, messages = self.asked(past, user, query, hits)
        self._verdict(row, number, grammar.RECKONS.format(number) + grammar.SUM, (expression,), grammar.CALL_END)
        self._terms(row, expression)
        call = _call(f"With [{number}] I can calculate.", "calculate", expression=expression)
        result = calculate(expression)
        self._result(row, [*messages, call], result)
        self._conclude(row, result, grammar.cite(number))
        return row

    def asked(
        self, past: Sequence[Message], user: str, query: str, hits: Sequence[Hit], hop: Hop | None = None
    ) -> tuple[Row, list[Message]]:
        """A lookup up to the point where the core must judge what it found last, and the conversation until there."""
        row, messages = self.search(past, user, query)
        if hop and hop.lead is None:
            row.weights = [0.0] * len(row.ids)
        text, excerpts = show(hits, self.renderer.profile)
        messages = self._result(row, messages, text)
        if hop:
            number = hop.lead[0] if hop.lead else None
            verdict = grammar.AGAIN if number is None else grammar.LEADS.format(number)
            parts = [(grammar.escaped(part),) for part in hop.query]
            self._verdict(row, number, verdict + grammar.QUERY, *parts, grammar.CALL_END)
            thought = "Again, in other words." if number is None else f"On from [{number}]."
            call = _call(thought, "search_memory", query="".join(hop.query))
            text, _ = show(hop.hits, self.renderer.profile, len(excerpts) + 1)
            messages = self._result(row, [*messages, call], text)
        return row, messages

    def calculate(self, past: Sequence[Message], user: str, expression: str) -> Row:
        """A calculation and its result."""
        result = calculate(expression)
        messages, row = self._begin(past, user)
        self._write(row, grammar.CALCULATE, (expression,), grammar.CALL_END)
        self._terms(row, expression)
        call = _call("This needs the calculator.", "calculate", expression=expression)
        self._result(row, [*messages, call], result)
        self._conclude(row, result, ".")
        return row

    def talk(self, past: Sequence[Message], user: str, reply: str) -> Row:
        """A reply that needs nothing."""
        _, row = self._begin(past, user)
        self._write(row, grammar.TALK, (reply,))
        return row

    def _begin(self, past: Sequence[Message], user: str) -> tuple[list[Message], Row]:
        messages = [*past, {"role": "user", "content": user}]
        row = Row()
        row.show(self.renderer.start(messages))
        return messages, row

    def _result(self, row: Row, messages: Sequence[Message], text: str) -> list[Message]:
        """Show a tool's result; the conversation with it."""
        after = [*messages, {"role": "tool", "content": text}]
        whole = self.renderer.extend(after, (), row.ids)
        if whole[: len(row.ids)] != row.ids:
            raise ValueError("the chat template rewrote an earlier part of the turn")
        row.show(whole[len(row.ids) :])
        return after

    def _verdict(self, row: Row, number: int | None, verdict: str, *parts: str | tuple[str]) -> None:
        """Write a verdict on passages, and the number of the one that it names."""
        written = len(row.ids)
        self._write(row, verdict, *parts)
        # Two tokens of some thirty say which verdict, and of which passage: alone they would learn too slowly.
        fork = written + len(confidence.opening(self.renderer.tokenizer, verdict)) - 1
        named = [] if number is None else [row.ids.index(self._encode(str(number))[0], fork)]
        for at in (fork, *named):
            row.weights[at] = CHOICE

    def _terms(self, row: Row, expression: str) -> None:
        """Weigh what decides the sum whose call was written last."""
        terms = {at for term in TERMS.finditer(expression) for at in range(*term.span())}
        encoded = self.renderer.tokenizer(expression, add_special_tokens=False, return_offsets_mapping=True)
        places = encoded["offset_mapping"]
        for n, (first, last) in enumerate(places, len(row.ids) - len(places) - len(self._encode(grammar.CALL_END)) - 1):
            if not terms.isdisjoint(range(first, last)):
                row.weights[n] = TERM

    def _conclude(self, row: Row, result: str, end: str) -> None:
        """State the result, which the server's mask spells out: it is not to be learned."""
        written = len(row.ids) + len(self._encode(grammar.RESULT))
        self._write(row, grammar.RESULT, (" " + result,), end)
        for n in range(written, written + len(self._encode(" " + result))):
            row.weights[n] = 0.0

    def _write(self, row: Row, *parts: str | tuple[str]) -> None:
        """Literals as they are, values (in tuples) weighted up; each tokenised alone, as the masks want it."""
        for part in parts:
            text, weight = (part, LITERAL) if isinstance(part, str) else (part[0], VALUE)
            row.say(self._encode(text), weight)
        row.say([self.end], LITERAL)

    def _encode(self, text: str) -> list[int]:
        return list(self.renderer.tokenizer(text, add_special_tokens=False)["input_ids"])


def _call(thought: str, name: str, **arguments: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "reasoning_content": thought,
        "content": "",
        "tool_calls": [{"function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}],
    }
