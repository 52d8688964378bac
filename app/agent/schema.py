"""Replies and calls that must follow a JSON schema: grammars as decode masks, compiled by llguidance.

A schema that asks for more than can be kept token by token is refused, not followed in part.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llguidance.hf
import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer
from transformers import PreTrainedTokenizerBase

Schema = Mapping[str, Any]
ANY_OBJECT: Schema = {"type": "object"}
# As cores were trained to write it; free white space would let a lost one write nothing else.
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class SchemaRefused(ValueError):
    """A schema that cannot be read or cannot be kept; the message says what in it."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The tools that may be called, with the schema of each one's arguments, and how a call is written: what stands
    before the tool's name, and between that and the arguments; the tags around it, single tokens, if it has some.

    Where it has none, a call is all of its round.
    """

    tools: Mapping[str, Schema]
    before: str
    between: str
    tags: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """What comes first: the ids between which the core thinks, and the text that follows them."""

    opening: int
    closing: int
    after: str


class SchemaMask:
    """One request's place in a grammar. `given` are ids that were written before the core goes on."""

    def __init__(self, grammar: LLMatcher, vocab_size: int, given: Sequence[int] = ()) -> None:
        self._matcher, self._vocab_size, self._read = grammar.deep_copy(), vocab_size, 0
        self._matcher.consume_tokens(list(given))

    def __call__(self, generated: Sequence[int]) -> npt.NDArray[np.int64]:
        """Raises SchemaRefused where the grammar became too large on the way."""
        self._matcher.consume_tokens(list(generated[self._read :]))
        self._read = len(generated)
        if self._matcher.is_error():
            raise SchemaRefused(_first_line(self._matcher.get_error()))
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self._vocab_size])


def compiled(
    tokenizer: PreTrainedTokenizerBase, reply: Schema | None, calls: Calls | None = None, thought: Thought | None = None
) -> LLMatcher:
    """The grammar of a round: a reply after its schema, or calls of tools; without a schema, text, and calls after it.
    One of the two is given.

    Blocks; what was compiled lately is kept. Raises SchemaRefused.
    """
    return _compiled(tokenizer, _grammar(tokenizer, reply, calls, thought))


def _grammar(
    tokenizer: PreTrainedTokenizerBase, reply: Schema | None, calls: Calls | None, thought: Thought | None
) -> str:
    rules = [f"start: {'thought ' if thought else ''}said"]
    if thought:
        after = json.dumps(thought.after)
        rules += [rf"thought: <[{thought.opening}]>? /(?s:.*)/ <[{thought.closing}]> {after}"]
    if reply is not None:
        rules += [f"reply: %json {_json(reply)}"]
    if calls is None:
        return "\n".join([*rules, "said: reply"])
    if calls.tags is None:
        # What begins as JSON is read as a call.
        text, call = r"TEXT: /(?s:\s*([^\s{].*)?)/", "body"
        alone, both = "call", "TEXT | call"
    else:
        # Nor may other tokens spell the tag: it would be read as one.
        text = rf"TEXT: /(?s:.*)/ & ~/(?s:.*){re.escape(calls.tags[0])}(?s:.*)/"
        opening, closing = (f"<[{tokenizer.get_added_vocab()[tag]}]>" for tag in calls.tags)
        call, alone = rf'{opening} "\n" body "\n" {closing}', r'call ("\n" call)*'
        both = f"TEXT ({alone})?"
    rules += [f"said: reply | {alone}" if reply is not None else f"said: {both}", f"call: {call}"]
    rules += [text] if reply is None else []
    rules += [f"body: {' | '.join(f'tool_{n}' for n in range(len(calls.tools)))}"]
    for n, (name, arguments) in enumerate(calls.tools.items()):
        begun = json.dumps(f"{calls.before}{name}{calls.between} ")
        rules += [f'tool_{n}: {begun} arguments_{n} "}}"', f"arguments_{n}: %json {_json(arguments)}"]
    return "\n".join(rules)


def _json(schema: Schema) -> str:
    return json.dumps({**schema, "x-guidance": SPACING})


@lru_cache(maxsize=64)
def _compiled(tokenizer: PreTrainedTokenizerBase, grammar: str) -> LLMatcher:
    tokens = _tokens(tokenizer)
    text = LLMatcher.grammar_from_lark(grammar)
    wrong, messages = LLMatcher.validate_grammar_with_warnings(text, tokens)
    if wrong:
        raise SchemaRefused(_first_line(messages[0]))
    return LLMatcher(tokens, text, log_level=0)


@lru_cache(maxsize=4)
def _tokens(tokenizer: PreTrainedTokenizerBase) -> LLTokenizer:
    return llguidance.hf.from_tokenizer(tokenizer)  # type: ignore[arg-type]  # it says so itself where it cannot


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0]
