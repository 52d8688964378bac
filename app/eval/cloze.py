"""Questions made from a store's own documents, with no language model.

A sentence with a value in it (a date, an amount, a number, a name) is asked for that value by its other words, as
people type them into a search box: unsupervised cloze questions (Lewis et al. 2019), without their translation into
grammatical ones. Passed over are sentences that say too little, and those whose words lead to another passage too.
"""

import re
from collections import deque
from collections.abc import Iterator
from random import Random

from app.eval.questions import Question
from index.chunk import sentence_spans
from index.memory import Memory
from index.types import StoreFile

FEWEST, MOST = 3, 7  # words of a question
SEEN = 20  # passages looked at for the question's words
PAGE = 1000
MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
VALUE = re.compile(
    rf"(?<![\w.,:/-])(?:(?:\d{{1,2}} {MONTH}|{MONTH} \d{{1,2}})(?:,? \d{{4}})?|[€$£]?\d(?:[\d.,:/-]*\d)?%?)(?![\w-])"
    r"|(?<=[a-z,] )[A-Z][\w-]+(?: [A-Z][\w-]+)*"
)
WORD = re.compile(r"\w+(?:['’.,:/-]\w+)*")
IDLE = frozenset(
    "a all an and any are as at be been but by can do does each every for from had has have he her his if in into is "
    "it its may more must no not of on only or our out she should so some than that the their them then there these "
    "they this those to under up us was we were when where which who will with within you your".split()
)


def questions(memory: Memory, store: str, rng: Random) -> Iterator[Question]:
    """Without end but that of the documents, from all of them by turns; each document is read when its turn comes."""
    held = documents(memory, store)
    rng.shuffle(held)
    waiting = deque(_of_document(memory, store, document, rng) for document in held)
    while waiting:
        made = next(waiting[0], None)
        if made is None:
            waiting.popleft()
        else:
            yield made
            waiting.rotate(-1)


def documents(memory: Memory, store: str) -> list[StoreFile]:
    """Those that are searchable."""
    found: list[StoreFile] = []
    while True:
        page = memory.store_files(store, PAGE, found[-1].id if found else None, order="asc", status="completed")
        found += page.data
        if not page.has_more:
            return found


def _of_document(memory: Memory, store: str, document: StoreFile, rng: Random) -> Iterator[Question]:
    text = memory.store_text(store, document.id)
    spans = sentence_spans(text)
    rng.shuffle(spans)
    for start, end in spans:
        asked = cloze(text[start:end], rng)
        if asked is None:
            continue
        words, value = asked
        query = " ".join(words)
        if not _leads_elsewhere(memory, store, query, (document.id, start)):
            yield Question(f"{document.id}:{start}", query, "fact", (value,), True, document.filename, text[start:end])


def cloze(sentence: str, rng: Random) -> tuple[list[str], str] | None:
    """The telling words nearest to one of the sentence's values, in their order, and the value."""
    values = list(VALUE.finditer(sentence))
    if not values:
        return None
    value = rng.choice(values)
    words = [
        word
        for word in WORD.finditer(sentence)
        if word[0].casefold() not in IDLE and (word.end() <= value.start() or word.start() >= value.end())
    ]
    near = sorted(words, key=lambda word: max(value.start() - word.end(), word.start() - value.end()))[:MOST]
    chosen = [word[0] for word in sorted(near, key=re.Match.start)]
    if len(chosen) < FEWEST or value[0].casefold() in map(str.casefold, chosen):
        return None
    return chosen, value[0]


def _leads_elsewhere(memory: Memory, store: str, query: str, source: tuple[str, int]) -> bool:
    """Whether another passage than the one of the sentence has all the words too."""
    words = _words(query)
    for hit in memory.search(store, query, k=SEEN, rerank=False):
        chunk = hit.chunk
        own = chunk.file_id == source[0] and chunk.start <= source[1] < chunk.end
        if not own and words <= _words(chunk.text):
            return True
    return False


def _words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}
