"""What a reply leans on: passages it names, and the sentence in each that bears it out, verified against the document.

A quote is the parsed document's own text, inside the chunk that was found. What does not verify is not shown.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from anyio import to_thread

from app.agent.events import Cited, Event
from app.agent.prompt import Excerpt
from app.agent.rounds import Rounds
from app.agent.verdict import Place
from index.chunk import sentence_spans
from index.errors import MemoryFault
from index.memory import Memory
from index.types import Chunk, Hit

MARKER = re.compile(r"\[(\d{1,3})\]")
NEAR = 0.05
"""The score from which on a passage is shown beside an answer that is not known."""
_QUOTED = re.compile(r"[\"“«]([^\"”»]{3,})[\"”»]")
_WORD = re.compile(r"\w+")
_PLAIN = frozenset(
    "the and for are was were has have had its his her their this that these those with from not you your can will "
    "answer does did who what when where which how passage according document".split()
)


@dataclass(frozen=True, slots=True)
class Support:
    """A place in a document, and where the reply's text leans on it."""

    hit: Hit
    start: int
    end: int
    reply_start: int
    reply_end: int


def sentence_at(chunk: Chunk, start: int, end: int) -> tuple[int, int]:
    """The sentences of the chunk that document[start:end] stands in, as offsets in the document."""
    at, to = start - chunk.start, end - chunk.start
    around = [(a, b) for a, b in sentence_spans(chunk.text) if a < to and b > at]
    if not around:
        return start, end
    return chunk.start + min(around[0][0], at), chunk.start + max(around[-1][1], to)


def named(reply: str, excerpts: Sequence[Excerpt]) -> list[Support]:
    """The passages that `[n]` in a reply names, where a sentence of them bears out the words before it."""
    by_number = {e.number: e for e in excerpts}
    supports: list[Support] = []
    claim, said = "", 0
    for marker in MARKER.finditer(reply):
        # Several markers in a row share their claim.
        claim = reply[said : marker.start()].strip(" ,;") or claim
        said = marker.end()
        excerpt = by_number.get(int(marker[1]))
        if excerpt and (place := _borne_out(claim, excerpt.hit.chunk)):
            supports.append(Support(excerpt.hit, *place, marker.start(), marker.end()))
    return supports


def verify(memory: Memory, support: Support) -> Cited | None:
    """The citation, if document and chunk say it in the same words; None if not, or if the document is gone."""
    chunk = support.hit.chunk
    quote = chunk.text[support.start - chunk.start : support.end - chunk.start]
    inside = chunk.start <= support.start < support.end <= chunk.end
    try:
        document = memory.text_around(chunk)
    except MemoryFault:
        return None
    if not inside or not quote or document[support.start : support.end] != quote:
        return None
    return Cited(support.hit, quote, support.start, support.end, support.reply_start, support.reply_end)


async def cite(rounds: Rounds, memory: Memory, places: Sequence[Place]) -> AsyncGenerator[Event]:
    """Quote the sentences of these places, for which the reply's last markers stand."""
    for piece in rounds.close():
        yield piece
    markers = list(MARKER.finditer(rounds.reply))[-len(places) :]
    if len(markers) < len(places):
        return
    quoted = set[tuple[str, int, int]]()
    for (excerpt, start, end), marker in zip(places, markers, strict=True):
        sentence = sentence_at(excerpt.hit.chunk, *excerpt.locate(start, end))
        cited = await to_thread.run_sync(verify, memory, Support(excerpt.hit, *sentence, *marker.span()))
        if not cited:
            continue
        yield cited
        if cited.place not in quoted:
            quoted.add(cited.place)
            for piece in rounds.say(shown(cited)):
                yield piece


def shown(cited: Cited) -> str:
    """The quote as it is put under the reply."""
    return "\n\n" + _quoted(cited.hit.chunk, cited.start, cited.end)


def near_miss(hits: Sequence[Hit]) -> str:
    """What is put under a reply that does not know: the best of what was found, for a human to judge; "" if far off."""
    best = max(hits, key=lambda hit: hit.score, default=None)
    if best is None or best.mark is None or best.score < NEAR:
        return ""
    chunk = best.chunk
    place = sentence_at(chunk, chunk.start + best.mark.start, chunk.start + best.mark.end)
    return f"\n\nThe nearest that was found:\n\n{_quoted(chunk, *place)}"


def _quoted(chunk: Chunk, start: int, end: int) -> str:
    page = f", p. {chunk.page}" if chunk.page is not None else ""
    return f"> {' '.join(chunk.text[start - chunk.start : end - chunk.start].split())}\n— {chunk.filename}{page}"


def bare(reply: str) -> str:
    """The reply without its markers."""
    return re.sub(r"\s*\[\d{1,3}\]", "", reply).strip()


def _borne_out(claim: str, chunk: Chunk) -> tuple[int, int] | None:
    """Where the chunk says it: the words quoted in the claim, else the sentence that shares most with it."""
    for quoted in _QUOTED.finditer(claim):
        words = quoted[1].strip(" .,;")
        if words and (at := chunk.text.find(words)) >= 0:
            return sentence_at(chunk, chunk.start + at, chunk.start + at + len(words))
    said = set(_telling(claim))
    best, place = 0, None
    for start, end in sentence_spans(chunk.text):
        shared = len(said & set(_telling(chunk.text[start:end])))
        if shared > best:
            best, place = shared, (chunk.start + start, chunk.start + end)
    return place


def _telling(text: str) -> Iterator[str]:
    """Words that tell something: numbers, and words that are not in every sentence."""
    for word in _WORD.findall(text.casefold()):
        if word.isdigit() or (len(word) > 2 and word not in _PLAIN):
            yield word
