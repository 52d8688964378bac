"""Grammars as decode masks: an automaton that says which token ids may come next.

A literal is written in the very tokens that training wrote it in, which leaves one id at most steps (the engine runs
those at once); a span or an expression in any tokens that lie wholly inside it. Works for any byte-level BPE tokenizer;
tokens may split characters, spans begin and end between words, so never inside one. A mask belongs to one request: it
keeps the states reached, so a step costs the new tokens only.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from app.agent.expression import ALPHABET, UNSAID, Expressions, Progress, implied, numbers
from app.cores.grammar import Alternative, Arithmetic, Free, Grammar, Literal, Segment, Span

# A JSON escape is one word, since a query that ended inside one would leave its string open; so is a number: half of it
# would be another number.
WORD = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|\d+(?:[.,:]\d+)+(?!\w)|\w+|[^\w\s]")


class MaskError(ValueError):
    """A grammar that nothing can be written in, or a tokenizer whose tokens are not bytes."""


class Vocabulary:
    """The bytes of every token of a byte-level BPE tokenizer. Built once for each core."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
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

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

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

    @cached_property
    def arithmetic(self) -> list[tuple[int, str]]:
        """The tokens that an expression may be written in."""
        texts = ((number, text.decode("latin-1")) for number, text in self.bytes.items() if text)
        return [(number, text) for number, text in texts if ALPHABET.issuperset(text)]

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
    """A span that was written: characters `start` to `end` of its source."""

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
    at: int = 0  # ids taken of the literal, or bytes of the source
    start: int = 0  # where in the source the span began
    lead: bool = False  # the space before the span is still to come
    spans: tuple[Found, ...] = ()
    progress: Progress = Progress()  # of the expression


@dataclass(frozen=True)
class _Source:
    """A span's source in bytes, and the characters at which its words start and end, by byte."""

    text: str
    spaced: bool
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


_Part = tuple[int, ...] | _Source | Expressions | Free  # a literal's ids, a span's source, an expression, free text


class GrammarMask:
    """The mask of one request. `given` are ids already written that the grammar covers, such as a forced opening."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary, given: Sequence[int] = ()) -> None:
        self.vocabulary = vocabulary
        self.given = list(given)
        self.alternatives = tuple(_compiled(alternative, vocabulary) for alternative in grammar)
        possible = [n for n, parts in enumerate(self.alternatives) if all(map(_possible, parts))]
        self._first = tuple(state for n in possible for state in self._open(n, 0, ()))
        self._ids: list[int] = []
        self._states = [self._first]
        if not self._reach(self.given):
            raise MaskError("nothing can be written in this grammar")

    def __call__(self, generated: Sequence[int]) -> Sequence[int]:
        """The ids allowed after `generated`. After a token that was not allowed, only the end is."""
        allowed: set[int] = set()
        for state in self._reach([*self.given, *generated]):
            match self._part(state):
                case None:
                    allowed.add(self.vocabulary.end)
                case Free():
                    return self.vocabulary.free
                case _Source(bytes=text) if state.lead:
                    rest = text[state.at : state.at + self.vocabulary.longest]
                    allowed.update(self.vocabulary.beginning(b" " + rest))
                case _Source(bytes=text):
                    allowed.update(self.vocabulary.beginning(text, state.at))
                case Expressions() as expressions:
                    tokens = self.vocabulary.arithmetic
                    allowed.update(number for number, text in tokens if expressions.after(state.progress, text))
                case literal:
                    allowed.add(literal[state.at])
        return sorted(allowed) or [self.vocabulary.end]

    def paths(self, generated: Sequence[int]) -> list[Path]:
        """Every reading of a finished text: none if it is not in the grammar, several where a span occurs twice."""
        # From the beginning: what `_reach` keeps is the engine's thread's, which may still be a step ahead.
        states = self._first
        for number in [*self.given, *(i for i in generated if i != self.vocabulary.end)]:
            states = self._after(states, number)
        whole = [s for s in states if isinstance(self._part(s), Free | None)]
        return list(dict.fromkeys(Path(s.alternative, s.spans) for s in whole))

    def _part(self, state: _State) -> _Part | None:
        """What the state stands in; None at the end."""
        parts = self.alternatives[state.alternative]
        return parts[state.segment] if state.segment < len(parts) else None

    def _reach(self, ids: list[int]) -> tuple[_State, ...]:
        """The states after `ids`; what was reached before is kept, and dropped where the ids differ."""
        same = min(len(ids), len(self._ids))
        while self._ids[:same] != ids[:same]:
            same -= 1
        del self._ids[same:], self._states[same + 1 :]
        for number in ids[same:]:
            self._states.append(self._after(self._states[-1], number))
            self._ids.append(number)
        return self._states[-1]

    def _after(self, states: tuple[_State, ...], number: int) -> tuple[_State, ...]:
        token = self.vocabulary.bytes.get(number, b"")
        return tuple(dict.fromkeys(after for state in states for after in self._take(state, number, token)))

    def _take(self, state: _State, number: int, token: bytes) -> Iterator[_State]:
        """The states after a token, if the state can take it."""
        match self._part(state):
            case Free():
                if token:
                    yield state
            case _Source() as source:
                yield from self._stretch(state, source, token)
            case Expressions() as expressions if token:
                for progress in expressions.after(state.progress, token.decode("latin-1")):
                    yield state._replace(progress=progress)
                    if progress.complete:
                        yield from self._open(state.alternative, state.segment + 1, state.spans)
            case tuple() as literal if literal[state.at] == number:
                state = state._replace(at=state.at + 1)
                whole = state.at == len(literal)
                yield from self._open(state.alternative, state.segment + 1, state.spans) if whole else (state,)

    def _stretch(self, state: _State, source: _Source, token: bytes) -> Iterator[_State]:
        """A span goes on; where the token ends a word, it may also end."""
        text = token.removeprefix(b" ") if state.lead else token
        if not token or (state.lead and text == token) or not source.bytes.startswith(text, state.at):
            return
        state = state._replace(at=state.at + len(text), lead=False)
        yield state
        if state.at > state.start and state.at in source.ends:
            found = Found(source.starts[state.start], source.ends[state.at])
            yield from self._open(state.alternative, state.segment + 1, (*state.spans, found))

    def _open(self, alternative: int, segment: int, spans: tuple[Found, ...]) -> Iterator[_State]:
        """The states at the start of a segment."""
        state = _State(alternative, segment, spans=spans)
        part = self._part(state)
        if isinstance(part, _Source):
            yield from (state._replace(at=start, start=start, lead=part.spaced) for start in part.starts)
        else:
            yield state


def _compiled(alternative: Alternative, vocabulary: Vocabulary) -> tuple[_Part, ...]:
    if any(isinstance(segment, Free) for segment in alternative[:-1]):
        raise MaskError("free text can only come last")
    return tuple(_segment(part, vocabulary) for part in alternative if part != Literal(""))


def _segment(segment: Segment, vocabulary: Vocabulary) -> _Part:
    match segment:
        case Literal(text):
            return vocabulary.encode(text)
        case Span(source, spaced):
            return _Source(source, spaced)
        case Arithmetic(source, only_implied):
            return Expressions((implied(source) if only_implied else UNSAID) | numbers(source))
        case Free():
            return segment


def _possible(part: _Part) -> bool:
    """A span of a source without a word can never be written."""
    return not isinstance(part, _Source) or bool(part.starts)
