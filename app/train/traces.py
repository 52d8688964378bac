"""Searches as a turn of the server makes them, for training: real chunks, ranking and marks of the reader, and misses.

One JSON line each: {question, hits: [{text, mark: [start, end, probability], score}], gold, span, answering}. `gold`
is the number of the hit that answers (or null), `span` the answer's place in its text, `answering` those that hold it.
Where a hit leads on instead, `hop` is the search from there: the same fields and {lead, name, around}, the number of
that hit, the place in its text of the name it gives, and the question's words around this name in the second query.

A question that is a sum over what a hit gives has its `expression`, or "" where it asks for the number itself.

What is absent was never there: a search without its answering passages is made without them, since to take them out
of its hits would leave the others with the scores of runners-up. Searches that nobody could judge are left out; which
and why stands in a file beside (app.train.kept).
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from random import Random
from typing import TypeVar

from tqdm import tqdm

from app.agent.lookup import Lookups
from app.agent.turn import Policy, Turn
from app.cores.profile import TINY
from app.eval import cloze
from app.train import chains
from app.train.alterations import Alterations
from app.train.kept import Kept
from app.train.organisations import Asked, organisation
from app.train.reckonings import Reckoning, page
from app.train.sources import Question, Sources
from index.errors import StoreNotFound
from index.filters import FILENAME
from index.folder import ingest_folder
from index.memory import Memory
from index.types import Hit, Mark, PassageReader

ELSEWHERE = "its words were found in a passage that nobody has judged"
EVERYWHERE = "its words stand in all that is found"
PAGES = 8  # in a store of reckonings
TRIES = 4  # searches for passages that do not hold an answer's words

Searched = TypeVar("Searched", Question, Asked, chains.Asked, Reckoning)


class Remembering:
    """A reader that reads no passage twice for one question: searches without the answer find most of the same."""

    def __init__(self, reader: PassageReader) -> None:
        self._reader = reader
        self._question, self._marks = "", dict[tuple[str, tuple[str, ...]], Mark]()

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        """As the reader would."""
        if question != self._question:
            self._question, self._marks = question, {}
        keys = [(text, tuple(above)) for text, above in zip(passages, headings, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self._marks]
        marks = self._reader.read(question, [text for text, _ in new], [above for _, above in new])
        self._marks |= zip(new, marks, strict=True)
        return [self._marks[key] for key in keys]


class Traces:
    """A file of searches. What it holds already is not searched for again, so a killed run can be repeated."""

    def __init__(self, memory: Memory, out: Path) -> None:
        self._memory, self._name = memory, out.name
        self.kept = Kept(out)

    def squad(self, sources: Sources, articles: int, count: int, held: bool = False) -> None:
        """Searches the paragraphs of the first articles for `count` of their questions.

        The articles that are held out are asked about, and stand in the store beside the others, only if `held`.
        Each question is searched for with and without the paragraph that answers it, and once more with a word
        changed, so that none does. A search is left out where nobody has judged what was found.
        """
        shown = sources.among(articles)
        asked = sources.about(sources.held if held else shown)
        among = {*shown, *sources.held} if held else set(shown)
        wanted = [p for p, article in enumerate(sources.articles) if article in among]
        store = self._filled("squad held" if held else "squad", {_file(p): sources.paragraphs[p] for p in wanted})
        alterations, answered = Alterations(sources, asked), {item.question for item in asked}
        for item in self._unknown(tqdm(asked[:count], self._name, mininterval=10)):
            found = _squad_row(item, sources, self._search(store, item.question))
            searched = {ELSEWHERE: found, EVERYWHERE: self._absent(store, item, sources)}
            rows = [row for row in searched.values() if row]
            altered = alterations.draw(Random(item.question), item)
            if altered and altered not in answered and altered not in self.kept.known:
                rows.append(_described(altered, self._search(store, altered), None, (0, 0), []))
            self.kept.add(item.question, rows, [why for why, row in searched.items() if not row])

    def _absent(self, store: str, item: Question, sources: Sources) -> dict[str, object] | None:
        """The search in a store that holds neither the paragraph nor others that its answer's words lead to."""
        answer = sources.paragraphs[item.paragraph][item.start : item.end].lower()
        without = [_file(item.paragraph)]
        for _ in range(TRIES):
            filters = {"type": "nin", "key": FILENAME, "value": without}
            hits = self._search(store, item.question, filters)
            holding = [hit.chunk.filename for hit in hits if answer in hit.chunk.text.lower()]
            if not holding:
                return _described(item.question, hits, None, (0, 0), [])
            without += holding
        return None

    def organisations(self, numbers: range, each: int = 100) -> None:
        """Searches the documents of invented organisations, a store for each, for some of what can be asked."""
        for n in tqdm(numbers, f"{self._name}: organisations", mininterval=10):
            rng = Random(f"organisation {n}")
            made = organisation(rng)
            store = self._filled(f"organisation {n}", made.documents)
            for asked in self._unknown(rng.sample(made.asked, min(each, len(made.asked)))):
                row = _organisation_row(asked, self._search(store, asked.question))
                self.kept.add(asked.question, [row])

    def worlds(self, numbers: range, each: int = 40) -> None:
        """Searches worlds in which one thing leads to another, a store for each, for some of what can be asked."""
        for n in tqdm(numbers, f"{self._name}: chains", mininterval=10):
            rng = Random(f"chains {n}")
            made = chains.world(rng)
            store = self._filled(f"chains {n}", made.documents)
            for asked in self._unknown(rng.sample(made.asked, min(each, len(made.asked)))):
                self.kept.add(asked.question, [self._chain_row(store, asked)])

    def reckonings(self, numbers: range, pages: int = PAGES) -> None:
        """Searches pages of numbers for what can be reckoned from them, several pages to a store."""
        for n in tqdm(numbers, f"{self._name}: reckonings", mininterval=10):
            rng = Random(f"reckonings {n}")
            made = [page(rng) for _ in range(pages)]
            store = self._filled(f"reckonings {n}", {f"{m}.md": one.text for m, one in enumerate(made)})
            for asked in self._unknown([asked for one in made for asked in one.asked]):
                hits = self._search(store, asked.question)
                stating = [m for m, hit in enumerate(hits) if asked.sentence and asked.sentence in hit.chunk.text]
                gold = stating[0] if stating else None
                span = (0, 0) if gold is None else asked.place(hits[gold].chunk.text)
                row = _described(asked.question, hits, gold, span, stating)
                self.kept.add(asked.question, [{**row, "expression": asked.expression}])

    def documents(self, folder: Path, count: int) -> None:
        """Searches a folder's documents for `count` of the values in them, each with and without its own document."""
        store = self._own(folder)
        made = islice(cloze.questions(self._memory, store, Random(0)), count)
        for asked in tqdm(made, f"{self._name}: {folder}", mininterval=10):
            if asked.question in self.kept.known or asked.file is None or asked.evidence is None:
                continue
            hits = self._search(store, asked.question)
            absent = self._search(store, asked.question, {"type": "ne", "key": FILENAME, "value": asked.file})
            stating = [n for n, hit in enumerate(hits) if asked.evidence in hit.chunk.text]
            gold, span = None, (0, 0)
            if stating:
                gold = stating[0]
                start = hits[gold].chunk.text.index(asked.evidence) + asked.evidence.index(asked.answers[0])
                span = (start, start + len(asked.answers[0]))
            with_it = _described(asked.question, hits, gold, span, stating)
            self.kept.add(asked.question, [with_it, _described(asked.question, absent, None, (0, 0), [])])

    def _own(self, folder: Path) -> str:
        """The store that follows a folder."""
        name = f"documents of {folder.name}"
        try:
            store = self._memory.store(name)
        except StoreNotFound:
            store = self._memory.create_store(name)
        ingest_folder(self._memory, store.id, folder)
        return store.id

    def _chain_row(self, store: str, asked: chains.Asked) -> dict[str, object]:
        """One search, or two: what one passage alone answers needs no second."""
        hits = self._search(store, asked.question)
        texts = [hit.chunk.text for hit in hits]
        answering = [n for n, text in enumerate(texts) if asked.answered_by(text)]
        row = _told_row(asked.question, hits, asked.fact, answering)
        leading = [n for n, text in enumerate(texts) if asked.link and asked.link.sentence in text]
        if answering or not leading or asked.link is None or asked.around is None:
            return row
        before, after = asked.around
        query = " ".join(filter(None, (before, asked.link.value, after)))
        found = self._search(store, query)
        stating = [n for n, hit in enumerate(found) if asked.fact and asked.fact.sentence in hit.chunk.text]
        hop = {"lead": leading[0], "name": asked.link.place(texts[leading[0]]), "around": asked.around}
        return {**row, "hop": {**hop, **_told_row(query, found, asked.fact, stating)}}

    def _search(self, store: str, query: str, filters: Mapping[str, object] | None = None) -> list[Hit]:
        """What the core would be shown of a turn's search."""
        return asyncio.run(_looked_up(self._memory, store, query, filters))[: TINY.passages]

    def _unknown(self, asked: Iterable[Searched]) -> Iterator[Searched]:
        """Those that nothing is kept of when their turn comes."""
        return (item for item in asked if item.question not in self.kept.known)

    def _filled(self, name: str, documents: dict[str, str]) -> str:
        """The store's id. One that an earlier run left half filled is filled anew."""
        try:
            store = self._memory.store(name)
            if store.counts.get("completed") == len(documents):
                return store.id
            self._memory.delete_store(store.id)
        except StoreNotFound:
            pass
        store = self._memory.create_store(name)
        added = [
            self._memory.attach(store.id, self._memory.add_file(name, text.encode()).id)
            for name, text in documents.items()
        ]
        for document in tqdm(added, f"indexing {name}", mininterval=10):
            self._memory.wait(store.id, document.id)
        return store.id


async def _looked_up(memory: Memory, store: str, query: str, filters: Mapping[str, object] | None) -> list[Hit]:
    lookups = Lookups(Turn([], stores=[store], policy=Policy(filters=filters)), memory)
    async with aclosing(lookups.search(query)) as events:
        async for _ in events:
            pass
    return lookups.hits


def _told_row(question: str, hits: list[Hit], told: chains.Told | None, answering: list[int]) -> dict[str, object]:
    gold = answering[0] if answering else None
    span = told.place(hits[gold].chunk.text) if told and gold is not None else (0, 0)
    return _described(question, hits, gold, span, answering)


def _organisation_row(asked: Asked, hits: list[Hit]) -> dict[str, object]:
    texts = [hit.chunk.text for hit in hits]
    answering = [n for n, text in enumerate(texts) if asked.evidence and all(e in text for e in asked.evidence)]
    span = (0, 0)
    if answering:
        last = asked.evidence[-1]
        start = texts[answering[0]].index(last) + last.rindex(asked.value)
        span = (start, start + len(asked.value))
    return _described(asked.question, hits, answering[0] if answering else None, span, answering)


def _file(paragraph: int) -> str:
    return f"{paragraph}.txt"


def _squad_row(item: Question, sources: Sources, hits: list[Hit]) -> dict[str, object] | None:
    text = sources.paragraphs[item.paragraph]
    answer = text[item.start : item.end]
    answering = [n for n, hit in enumerate(hits) if answer in hit.chunk.text]
    gold, span = None, (0, 0)
    for n, hit in enumerate(hits):
        at = item.start - hit.chunk.start
        if hit.chunk.filename == _file(item.paragraph) and at >= 0 and hit.chunk.text[at:].startswith(answer):
            gold, span = n, (at, at + len(answer))
    if gold is None and answering:
        return None  # found somewhere else: whether that answers the question nobody has said
    return _described(item.question, hits, gold, span, answering)


def _described(
    question: str, hits: list[Hit], gold: int | None, span: tuple[int, int], answering: list[int]
) -> dict[str, object]:
    shown = [
        {
            "text": hit.chunk.text,
            "mark": [hit.mark.start, hit.mark.end, round(hit.mark.probability, 4)],
            "score": round(hit.score, 4),
        }
        for hit in hits
        if hit.mark
    ]
    return {"question": question, "hits": shown, "gold": gold, "span": span, "answering": answering}
