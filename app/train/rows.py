"""Training rows of the embedded core: whole turns, in exactly the bytes that the server renders.

A row is token ids and a weight for each: 0 for what the core is shown, more for what it must get right.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.agent.prompt import Message, Renderer, show
from app.cores import grammar
from index.types import Hit

LITERAL, VALUE, CHOICE = 1.0, 2.0, 10.0

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

    def read(self, past: Sequence[Message], user: str, query: str, hits: Sequence[Hit], answer: Answer | None) -> Row:
        """A whole lookup: `answer` is the number of the excerpt and the words of its span, or None to abstain."""
        row = self.asked(past, user, query, hits)
        written = len(row.ids)
        if answer is None:
            self._write(row, grammar.ABSENT)
        else:
            number, span = answer
            self._write(row, grammar.FOUND.format(number), (" " + span,), grammar.CITE.format(number))
        # Two tokens of some thirty say whether any passage answers, and which: alone they would learn too slowly.
        fork = written + len(self._encode(grammar.ABSENT.partition("No")[0]))
        for at in (fork, fork + 1) if answer else (fork,):
            row.weights[at] = CHOICE
        return row

    def asked(self, past: Sequence[Message], user: str, query: str, hits: Sequence[Hit]) -> Row:
        """A lookup up to the point where the core must judge."""
        row, messages = self.search(past, user, query)
        text, _ = show(hits, self.renderer.profile)
        self._result(row, messages, text)
        return row

    def calculate(self, past: Sequence[Message], user: str, expression: str, result: str) -> Row:
        """A calculation and its result."""
        messages, row = self._begin(past, user)
        self._write(row, grammar.CALCULATE, (expression,), grammar.CALL_END)
        call = _call("This needs the calculator.", "calculate", expression=expression)
        self._result(row, [*messages, call], result)
        self._write(row, grammar.RESULT, (" " + result,), ".")
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

    def _result(self, row: Row, messages: Sequence[Message], text: str) -> None:
        whole = self.renderer.extend([*messages, {"role": "tool", "content": text}], (), row.ids)
        if whole[: len(row.ids)] != row.ids:
            raise ValueError("the chat template rewrote an earlier part of the turn")
        row.show(whole[len(row.ids) :])

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
