"""Searches as the server makes them, for training: real chunks, real ranking, the real reader's marks and misses.

One JSON line each: {question, hits: [{text, mark: [start, end, probability]}], gold, span, answering}. `gold` is the
number of the hit that answers (or null), `span` the answer's place in its text, `answering` all hits that hold it.
"""

import json
from pathlib import Path
from random import Random

from tqdm import tqdm

from app.train.sources import Question, Sources
from index.memory import Memory
from index.types import Hit

STORE = "training"


def fill(memory: Memory, sources: Sources, articles: int) -> str:
    """Put the paragraphs of the first `articles` articles into a store, one document each; returns its id."""
    sources.squad()
    store = memory.create_store(STORE)
    wanted = [p for p, article in enumerate(sources.articles) if article < articles]
    for paragraph in tqdm(wanted, "attaching", mininterval=10):
        added = memory.add_file(f"{paragraph}.txt", sources.paragraphs[paragraph].encode())
        memory.attach(store.id, added.id)
    for paragraph in tqdm(memory_files(memory, store.id), "indexing", mininterval=10):
        memory.wait(store.id, paragraph)
    return store.id


def memory_files(memory: Memory, store: str) -> list[str]:
    """The ids of all files of a store."""
    ids: list[str] = []
    while True:
        page = memory.store_files(store, limit=100, after=ids[-1] if ids else None)
        ids.extend(f.id for f in page.data)
        if not page.has_more:
            return ids


def record(memory: Memory, sources: Sources, articles: int, count: int, out: Path, seed: int = 0) -> int:
    """Search for `count` questions and append what came back to `out`; ambiguous ones are dropped and counted."""
    asked = [q for q in sources.squad() if sources.articles[q.paragraph] < articles]
    store = memory.store(STORE).id
    dropped = 0
    with out.open("a", encoding="utf-8") as lines:
        for item in tqdm(Random(seed).sample(asked, min(count, len(asked))), "searching", mininterval=10):
            row = _row(item, sources, memory.search(store, item.question, k=8))
            dropped += row is None
            if row:
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                lines.flush()
    return dropped


def _row(item: Question, sources: Sources, hits: list[Hit]) -> dict[str, object] | None:
    text = sources.paragraphs[item.paragraph]
    answer = text[item.start : item.end]
    answering = [n for n, hit in enumerate(hits) if answer in hit.chunk.text]
    gold, span = None, (0, 0)
    for n, hit in enumerate(hits):
        at = item.start - hit.chunk.start
        if hit.chunk.filename == f"{item.paragraph}.txt" and hit.chunk.text[at : at + len(answer)] == answer and at >= 0:
            gold, span = n, (at, at + len(answer))
    if gold is None and answering:
        return None  # found somewhere else: whether that answers the question nobody has said
    marks = [hit.mark for hit in hits]
    shown = [
        {"text": hit.chunk.text, "mark": [mark.start, mark.end, round(mark.probability, 3)]}
        for hit, mark in zip(hits, marks, strict=True)
        if mark
    ]
    return {"question": item.question, "hits": shown, "gold": gold, "span": span, "answering": answering}
