"""Searches as the server makes them, for training: real chunks, real ranking, the real reader's marks and misses.

One JSON line each: {question, hits: [{text, mark: [start, end, probability]}], gold, span, answering}. `gold` is the
number of the hit that answers (or null), `span` the answer's place in its text, `answering` all hits that hold it.
"""

import json
from pathlib import Path
from random import Random

from tqdm import tqdm

from app.train.sources import Question, Sources
from index.errors import StoreNotFound
from index.memory import Memory
from index.types import Hit

STORE = "training"


def fill(memory: Memory, sources: Sources, articles: int) -> None:
    """Put the paragraphs of the first `articles` articles into a store, one document each, unless it is filled."""
    sources.squad()
    try:
        if sum(memory.store(STORE).counts.values()):
            return
    except StoreNotFound:
        memory.create_store(STORE)
    store = memory.store(STORE)
    wanted = [p for p, article in enumerate(sources.articles) if article < articles]
    attached = []
    for paragraph in tqdm(wanted, "attaching", mininterval=10):
        added = memory.add_file(f"{paragraph}.txt", sources.paragraphs[paragraph].encode())
        attached.append(memory.attach(store.id, added.id).id)
    for file_id in tqdm(attached, "indexing", mininterval=10):
        memory.wait(store.id, file_id)


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
        if hit.chunk.filename == f"{item.paragraph}.txt" and at >= 0 and hit.chunk.text[at:].startswith(answer):
            gold, span = n, (at, at + len(answer))
    if gold is None and answering:
        return None  # found somewhere else: whether that answers the question nobody has said
    shown = [
        {"text": hit.chunk.text, "mark": [hit.mark.start, hit.mark.end, round(hit.mark.probability, 4)]}
        for hit in hits
        if hit.mark
    ]
    return {"question": item.question, "hits": shown, "gold": gold, "span": span, "answering": answering}
