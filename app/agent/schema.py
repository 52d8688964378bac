"""Replies and calls that must follow a JSON schema: grammars as decode masks, compiled by llguidance.

A schema that asks for more than can be kept token by token is refused, not followed in part.
"""

import json
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
    """The tools that may be called, with the schema of each one's arguments, and the ids that open and close a call."""

    tools: Mapping[str, Schema]
    opening: int
    closing: int


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
    tokenizer: PreTrainedTokenizerBase, reply: Schema, calls: Calls | None = None, thought: Thought | None = None
) -> LLMatcher:
    """The grammar of a round: a reply, or calls of tools. Blocks; what was compiled lately is kept.

    Raises SchemaRefused.
    """
    return _compiled(tokenizer, _grammar(reply, calls, thought))


def _grammar(reply: Schema, calls: Calls | None, thought: Thought | None) -> str:
    rules = [f"start: {'thought ' if thought else ''}said", f"reply: %json {_json(reply)}"]
    if thought:
        after = json.dumps(thought.after)
        rules += [rf"thought: <[{thought.opening}]>? /(?s:.*)/ <[{thought.closing}]> {after}"]
    if calls is None:
        return "\n".join([*rules, "said: reply"])
    rules += ["said: reply | calls", r'calls: call ("\n" call)*']
    rules += [rf'call: <[{calls.opening}]> "\n" body "\n" <[{calls.closing}]>']
    rules += [f"body: {' | '.join(f'tool_{n}' for n in range(len(calls.tools)))}"]
    rules += [f"tool_{n}: %json {_json(_call(*tool))}" for n, tool in enumerate(calls.tools.items())]
    return "\n".join(rules)


def _call(name: str, arguments: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


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
