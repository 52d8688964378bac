"""Generated ids to thoughts, visible text and tool calls, while they come.

transformers' response templates say what is what; a tokenizer that ships none gets the profile's. A call that cannot be
read becomes a Malformed, never an exception. Half characters and spaces at a reply's ends are held back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

from app.agent.events import Text, Thinking
from app.cores.profile import Profile

THOUGHTS = frozenset({"reasoning_content", "reasoning", "thinking"})
CALLS = "tool_calls"
UNREADABLE = (ValueError, KeyError, TypeError)
"""What transformers' parser raises over a call that its template, or the schema of its tool, does not fit."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the core wrote it."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Malformed:
    """What stood where a tool call belongs, and why it is none, in words the core can mend it by."""

    text: str
    reason: str


Piece = Thinking | Text


class Detokenizer:
    """Ids to text, one by one. A character split over tokens comes whole, with its last token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, silent: frozenset[int] = frozenset()) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=False)
        self._silent = silent

    def feed(self, number: int) -> str:
        return "" if self.silences(number) else self._stream.step(self._backend, number) or ""

    def silences(self, number: int) -> bool:
        """Whether the id is never shown."""
        return number in self._silent


class Trimmed:
    """Drops the spaces before the first and after the last word of a stream."""

    def __init__(self) -> None:
        self.begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text if self.begun else text.lstrip()
        kept = text.rstrip()
        self._held = text[len(kept) :]
        self.begun = self.begun or bool(kept)
        return kept


class Stops:
    """Stop strings over a stream of text: what may belong to one is held back until that is known."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = [s for s in strings if s]
        self.hit = False
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that may be shown; nothing any more once a stop string was met."""
        if self.hit:
            return ""
        text = self._held + text
        # The one that is complete first, so that it does not matter how the text was cut.
        found = [(at + len(s), at) for s in self.strings if (at := text.find(s)) >= 0]
        self.hit = bool(found)
        shown = min(found)[1] if found else len(text) - self._beginning(text)
        self._held = "" if found else text[shown:]
        return text[:shown]

    def finish(self) -> str:
        """What was held back in vain."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """The length of the longest end of the text with which a stop string begins."""
        longest = max(map(len, self.strings), default=0) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(s.startswith(text[-size:]) for s in self.strings):
                return size
        return 0


class ReplyParser:
    """Parses what a core writes in one round. `prefix` is the text of the prompt, which may have begun the reply.

    Arguments of `tools`, in OpenAI's form, that were written as text become what their schemas say.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        profile: Profile,
        prefix: str,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        template = tokenizer.response_template or dict(profile.response_template or {})
        shown = repr(template.get("fields")).replace("\\", "")
        special = {n for n, t in tokenizer.added_tokens_decoder.items() if t.special and t.content not in shown}
        self._tokenizer, self._template = tokenizer, template
        self._tools: list[Any] = [dict(tool) for tool in tools]
        self._ids = Detokenizer(tokenizer, frozenset(special))
        self._parser = tokenizer.get_response_parser(template, prefix=prefix, tools=self._tools)
        self._text, self._thought = Trimmed(), Trimmed()
        self._broken = False
        self._raw_thought = self._raw_call = ""
        self._content = True
        self.thinking = False
        self.held = False  # whether the id that was fed last may still come out as text
        self.calls: list[Call | Malformed] = []
        self._take(self._parser.initial_events, silent=True)

    def feed(self, number: int) -> list[Piece]:
        """What one more id adds to the thoughts and the text."""
        text = self._ids.feed(number)
        self.held = self._content and not self._ids.silences(number)
        if self._broken or not text:
            return []
        try:
            events = list(self._parser.feed(text))
            pieces = self._take(events)
        except UNREADABLE as error:
            return self._break(error)
        # What stands between the parts of a reply is no text, nor are the spaces before its first word.
        plain = all(event["type"] == "region_chunk" for event in events)
        self.held = self._content and plain and (self._text.begun or not events)
        return pieces

    def finish(self) -> list[Piece]:
        """What the end settles. All calls are known after it."""
        pieces: list[Piece] = []
        if not self._broken:
            try:
                pieces = self._take(self._parser.finalize()[1])
            except UNREADABLE as error:
                pieces = self._break(error)
        if not self.calls and not self._text.begun:
            self._call_among_thoughts()
        return pieces

    def _take(self, events: Sequence[Mapping[str, Any]], silent: bool = False) -> list[Piece]:
        pieces: list[Piece] = []
        for event in events:
            field, kind = event["field"], event["type"]
            self.thinking = field in THOUGHTS and kind != "region_close"
            self._content = field == "content" or kind == "region_close"
            if kind == "region_close" and field == CALLS:
                values = event["value"] if isinstance(event["value"], list) else [event["value"]]
                self.calls.extend(read_call(value, self._raw_call.strip()) for value in values)
                self._raw_call = ""
            if kind != "region_chunk" or silent:
                continue
            if field == CALLS:
                self._raw_call += event["text"]
            elif field in THOUGHTS:
                self._raw_thought += event["text"]
                if thought := self._thought.feed(event["text"]):
                    pieces.append(Thinking(thought))
            elif field == "content" and (text := self._text.feed(event["text"])):
                pieces.append(Text(text))
        return pieces

    def _break(self, error: Exception) -> list[Piece]:
        self._broken = True
        self.calls.append(Malformed(self._raw_call.strip(), (str(error) or repr(error)).splitlines()[0]))
        return []

    def _call_among_thoughts(self) -> None:
        """A core that ends its turn inside its thoughts, on a complete call, meant the call."""
        parser = self._tokenizer.get_response_parser(self._template, prefix="", tools=self._tools)
        try:
            events = [*parser.feed(self._raw_thought), *parser.finalize()[1]]
        except UNREADABLE:
            return
        closed = [e["value"] for e in events if e["type"] == "region_close" and e["field"] == CALLS]
        found = [read_call(value, "") for value in closed]
        self.calls.extend(call for call in found if isinstance(call, Call))


def read_call(value: Any, text: str) -> Call | Malformed:
    """A parsed call, written as `text`, or why it is none. Llama's arguments are called parameters."""
    function = value.get("function") if isinstance(value, dict) else value
    if not isinstance(function, dict):
        return Malformed(text, "the call is not JSON")
    name, arguments = function.get("name"), function.get("arguments", function.get("parameters", {}))
    if not isinstance(name, str) or not name:
        return Malformed(text, "the call names no tool")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return Malformed(text, f"the arguments of {name} are not JSON")
    if not isinstance(arguments, dict):
        return Malformed(text, f"the arguments of {name} must be a JSON object")
    return Call(name, arguments)
