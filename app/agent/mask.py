"""Grammars as decode masks: an automaton over bytes that says which token ids may come next.

A token is allowed when a state can take its bytes wholly inside its current segment, which is how training tokenises.
Works for any byte-level BPE tokenizer; tokens may split characters, spans begin and end between words, so never inside
one. A mask belongs to one request: it keeps the states reached, so a step costs the new tokens only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from app.cores.grammar import Alternative, Free, Grammar, Literal, Segment, Span

# A JSON escape is one word, since a query that ended inside one would leave its string open; so is a number: half of it
# would be another number.
WORD = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|\d+(?:[.,:]\d+)+(?!\w)|\w+|[^\w\s]")


class MaskError(ValueError):
    """A grammar that nothing can be written in, or a tokenizer whose tokens are not bytes."""


class Vocabulary:
    """The bytes of every token of a byte-level BPE tokenizer. Built once for each core."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.end = int(tokenizer.eos_token_id)
        added = tokenizer.added_tokens_decoder
        special = {n for n, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        alphabet = {char: byte for byte, char in _alphabet()}
        self.bytes: dict[int, bytes] = {}
        for text, number in tokenizer.get_vocab().items():
            if number in special:
                continue
            try:
                self.bytes[number] = text.encode() if number in added else bytes(alphabet[char] for char in text)
            except KeyError:
                raise MaskError(f"token {number} is no byte-level BPE token: {text!r}") from None
        self.free: tuple[int, ...] = (*sorted(self.bytes), self.end)
        self.longest = max(map(len, self.bytes.values()))

    @cached_property
    def strings(self) -> dict[bytes, tuple[int, ...]]:
        """Ids by their bytes; a mere beginning of some token has none."""
        found: dict[bytes, tuple[int, ...]] = {}
        for number, text in self.bytes.items():
            for length in range(1, len(text)):
                found.setdefault(text[:length], ())
            if text:
                found[text] = (*found.get(text, ()), number)
        return found

    def beginning(self, text: bytes, at: int = 0) -> Iterator[int]:
        """The ids whose bytes stand in `text` at `at`."""
        for end in range(at + 1, len(text) + 1):
            numbers = self.strings.get(text[at:end])
            if numbers is None:
                return
            yield from numbers


@lru_cache(maxsize=4)
def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """The tokenizer's vocabulary, made at the first use: it takes 30 ms for 8,000 tokens."""
    return Vocabulary(tokenizer)


def _alphabet() -> Iterator[tuple[int, str]]:
    """GPT-2's printable stand-in for each byte."""
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = 0
    for byte in range(256):
        if byte in plain:
            yield byte, chr(byte)
        else:
            yield byte, chr(256 + others)
            others += 1


@dataclass(frozen=True, slots=True)
class Found:
    """A span that was written: characters `start` to `end` of source `source` of its segment."""

    source: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Path:
    """One reading of what was written: the alternative, and its spans in order."""

    alternative: int
    spans: tuple[Found, ...]


class _State(NamedTuple):
    alternative: int
    segment: int
    source: int = 0
    at: int = 0  # bytes taken of the literal or source
    start: int = 0  # where in the source the span began
    lead: bool = False  # the space before the span is still to come
    spans: tuple[Found, ...] = ()


@dataclass(frozen=True)
class _Source:
    """A span's source in bytes, and the characters at which its words start and end, by byte."""

    text: str
    bytes: bytes = field(init=False)
    starts: dict[int, int] = field(init=False, default_factory=dict)
    ends: dict[int, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        byte = char = 0
        for word in WORD.finditer(self.text):
            byte += len(self.text[char : word.start()].encode())
            self.starts[byte] = char = word.start()
            byte += len(word.group().encode())
            self.ends[byte] = char = word.end()
        # Nothing after the last word: a span that went on there could not end.
        object.__setattr__(self, "bytes", self.text[:char].encode())


class GrammarMask:
    """The mask of one request. `given` are ids already written that the grammar covers, such as a forced opening."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, given: Sequence[int] = ()) -> None:
        self.vocabulary = vocabulary
        self.given = list(given)
        self.alternatives = tuple(map(_compiled, grammar))
        states = [s for n in range(len(grammar)) if all(map(_possible, grammar[n])) for s in self._open(n, 0, ())]
        self._ids: list[int] = []
        self._states: list[tuple[_State, ...]] = [tuple(dict.fromkeys(states))]
        if not self._reach(self.given):
            raise MaskError("nothing can be written in this grammar")

    def __call__(self, generated: Sequence[int]) -> Sequence[int]:
        """The ids allowed after `generated`. After a token that was not allowed, only the end is."""
        allowed: set[int] = set()
        for state in self._reach([*self.given, *generated]):
            segments = self.alternatives[state.alternative]
            if state.segment == len(segments):
                allowed.add(self.vocabulary.end)
                continue
            segment = segments[state.segment]
            if isinstance(segment, Free):
                return self.vocabulary.free
            text = segment if isinstance(segment, bytes) else segment[0][state.source].bytes
            if state.lead:
                allowed.update(self.vocabulary.beginning(b" " + text[state.at : state.at + self.vocabulary.longest]))
            else:
                allowed.update(self.vocabulary.beginning(text, state.at))
        return sorted(allowed) or [self.vocabulary.end]

    def paths(self, generated: Sequence[int]) -> list[Path]:
        """Every reading of a finished text: none if it is not in the grammar, several where a span occurs twice."""
        ids = [*self.given, *(i for i in generated if i != self.vocabulary.end)]
        whole = (s for s in self._reach(ids) if self._complete(s))
        return list(dict.fromkeys(Path(s.alternative, s.spans) for s in whole))

    def _complete(self, state: _State) -> bool:
        segments = self.alternatives[state.alternative]
        return state.segment == len(segments) or isinstance(segments[state.segment], Free)

    def _reach(self, ids: list[int]) -> tuple[_State, ...]:
        """The states after `ids`; what was reached before is kept, and dropped where the ids differ."""
        same = min(len(ids), len(self._ids))
        while self._ids[:same] != ids[:same]:
            same -= 1
        del self._ids[same:], self._states[same + 1 :]
        for number in ids[same:]:
            token = self.vocabulary.bytes.get(number, b"")
            reached = (after for state in self._states[-1] for after in self._take(state, token)) if token else ()
            self._states.append(tuple(dict.fromkeys(reached)))
            self._ids.append(number)
        return self._states[-1]

    def _take(self, state: _State, token: bytes) -> Iterator[_State]:
        """The states after a token, if the state can take it."""
        segments = self.alternatives[state.alternative]
        if state.segment == len(segments):
            return
        segment = segments[state.segment]
        if isinstance(segment, Free):
            yield state
            return
        if state.lead:
            if not token.startswith(b" "):
                return
            token, state = token[1:], state._replace(lead=False)
        text = segment if isinstance(segment, bytes) else segment[0][state.source].bytes
        if not text.startswith(token, state.at):
            return
        state = state._replace(at=state.at + len(token))
        if isinstance(segment, bytes):
            whole = state.at == len(text)
            yield from self._open(state.alternative, state.segment + 1, state.spans) if whole else (state,)
            return
        yield state
        source = segment[0][state.source]
        if state.at > state.start and state.at in source.ends:
            found = Found(state.source, source.starts[state.start], source.ends[state.at])
            yield from self._open(state.alternative, state.segment + 1, (*state.spans, found))

    def _open(self, alternative: int, segment: int, spans: tuple[Found, ...]) -> Iterator[_State]:
        """The states at the start of a segment."""
        segments = self.alternatives[alternative]
        part = segments[segment] if segment < len(segments) else b""
        if not isinstance(part, tuple):
            yield _State(alternative, segment, spans=spans)
            return
        sources, spaced = part
        for number, source in enumerate(sources):
            for start in source.starts:
                yield _State(alternative, segment, number, start, start, spaced, spans)


_Compiled = bytes | Free | tuple[tuple[_Source, ...], bool]  # literal, free text, or sources and whether spaced


def _compiled(alternative: Alternative) -> tuple[_Compiled, ...]:
    if any(isinstance(segment, Free) for segment in alternative[:-1]):
        raise MaskError("free text can only come last")
    return tuple(_segment(part) for part in alternative if part != Literal(""))


def _segment(segment: Segment) -> _Compiled:
    match segment:
        case Literal(text):
            return text.encode()
        case Span(sources, spaced):
            return tuple(map(_Source, sources)), spaced
        case Free():
            return segment


def _possible(segment: Segment) -> bool:
    """A span of sources without a word can never be written."""
    return not isinstance(segment, Span) or any(WORD.search(source) for source in segment.sources)
