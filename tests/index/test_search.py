import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from index.errors import InvalidRequest
from index.lexical import Lexical
from index.memory import Memory
from index.types import Chunking, Hit, Mark, Scalar, Vectors
from tests.fakes import HashedWords
from tests.index.conftest import Open, put

WORDS = "river boat duck licence spring flood harbour gate lamp signature ledger meadow".split()


def short(memory: Memory, name: str, text: str, **attributes: Scalar) -> str:
    return put(memory, name, text, "default", Chunking(32), **attributes)


class Slow:
    """Takes a while for each passage; what it reads has a number for an answer."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        time.sleep(self.seconds * len(passages))
        return [Mark(0, 4, (1 + sum(map(ord, text)) % 97) / 100) for text in passages]


class Patient(HashedWords):
    """Embeds questions once it is told that their words are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up = threading.Event()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        assert self.looked_up.wait(30)
        return super().encode_queries(texts)


def plain(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in hits]


def at_once(searches: Sequence[Callable[[], Sequence[Hit]]]) -> list[Sequence[Hit]]:
    found: dict[int, Sequence[Hit]] = {}

    def run(n: int) -> None:
        found[n] = searches[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(searches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[n] for n in range(len(searches))]


def test_searches_that_meet_find_what_each_finds_alone(open_memory: Open) -> None:
    memory = open_memory()
    for n in range(40):
        short(memory, f"{n}.md", " ".join(WORDS[(n * i) % 12] for i in range(1, 8)) + f" number{n}.", even=n % 2 == 0)
    even = {"type": "eq", "key": "even", "value": True}
    searches: list[Callable[[], Sequence[Hit]]] = []
    for n in range(16):
        asked = WORDS[n % 12] if n % 3 else [WORDS[n % 12], "harbour gate"]
        filters = even if n % 4 == 1 else None
        searches.append(lambda asked=asked, filters=filters, k=3 + n: memory.search("default", asked, k, filters))  # type: ignore[misc]
    alone = [plain(search()) for search in searches]
    assert [plain(hits) for hits in at_once(searches)] == alone


def test_words_are_looked_up_while_the_question_is_embedded(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Patient()
    memory = open_memory(embedder=embedder)
    short(memory, "river.md", "The river floods the meadow.")
    search = Lexical.search

    def told(self: Lexical, question: str, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        embedder.looked_up.set()
        return search(self, question, k, allowed)

    monkeypatch.setattr(Lexical, "search", told)
    assert len(memory.search("default", "river")) == 1


def test_copies_make_room_for_others(open_memory: Open) -> None:
    memory = open_memory()
    copied = (
        "The river floods the meadow each spring, and every boat needs a licence before it may pass the harbour gate."
    )
    for n in range(12):
        short(memory, f"copy{n}.md", copied, copy=True)
    for n in range(12):
        short(memory, f"other{n}.md", f"A river like no other has the number {n}.", copy=False)
    hits = memory.search("default", "river flood meadow spring boat licence", k=10)
    assert len(hits) == 10
    assert [hit.alike for hit in hits] == [11] + [0] * 9
    assert [hit.chunk.attributes["copy"] for hit in hits] == [True] + [False] * 9
    everything = memory.search("default", "river flood meadow spring boat licence", k=10, only_distinct=False)
    assert [hit.chunk.text for hit in everything] == [copied] * 10
    only = {"type": "eq", "key": "copy", "value": True}
    assert [hit.alike for hit in memory.search("default", "river", 10, only)] == [11]
    assert len(open_memory("other", only_distinct=False).search("default", "river")) == 0


def test_a_reader_gets_ten_different_passages_and_so_does_the_caller(open_memory: Open) -> None:
    memory = open_memory(reader=Slow())
    copied = (
        "The river floods the meadow each spring, and every boat needs a licence before it may pass the harbour gate."
    )
    for n in range(12):
        short(memory, f"copy{n}.md", copied)
        short(memory, f"other{n}.md", f"A river like no other has the number {n}.")
    hits = memory.search("default", "river flood meadow spring", k=12)
    assert len(hits) == 12 and sum(hit.mark is not None for hit in hits) == 10
    assert len({hit.chunk.text for hit in hits}) == 12


SECTIONS = """# Harbour

{}

# Meadow

{}
"""


def test_neighbours_stand_around_a_hit_in_its_section(open_memory: Open) -> None:
    memory = open_memory()
    first, second = (
        "\n\n".join(f"Sentence {n} of {part} tells about {WORDS[n]} and nothing else than that." for n in range(9))
        for part in ("harbour", "meadow")
    )
    file_id = short(memory, "a.md", SECTIONS.format(first, second))
    text = memory.text(file_id)
    (alone,) = memory.search("default", "sentence about ledger meadow ledger", k=1)
    (hit,) = memory.search("default", "sentence about ledger meadow ledger", k=1, neighbours=4096)
    assert alone.neighbours == () and hit.chunk == alone.chunk
    section = [hit.chunk, *hit.neighbours]
    assert {one.headings for one in section} == {hit.chunk.headings}
    assert all(text[one.start : one.end] == one.text for one in section)
    assert [one.start for one in hit.neighbours] == sorted(one.start for one in hit.neighbours)
    told = " ".join(one.text for one in sorted(section, key=lambda one: one.start))
    assert [f"Sentence {n} of {hit.chunk.headings[-1].lower()}" in told for n in range(9)] == [True] * 9
    (some,) = memory.search("default", "sentence about ledger meadow ledger", k=1, neighbours=40)
    assert 0 < len(some.neighbours) < len(hit.neighbours)
    assert sum(memory.embedder.count_tokens(one.text) for one in some.neighbours) <= 40
    with pytest.raises(InvalidRequest, match="0 to 4096") as refused:
        memory.search("default", "ledger", neighbours=-1)
    assert refused.value.field == "cogcore.neighbours"


def test_when_the_time_is_over_what_was_found_and_read_is_there(open_memory: Open) -> None:
    reader = Slow()
    memory = open_memory(reader=reader)
    for n in range(30):
        short(memory, f"{n}.md", f"{WORDS[n % 12]} river {n}.")
    whole = memory.search("default", "river", k=20, timeout=60)
    assert whole.complete and plain(whole) == plain(memory.search("default", "river", k=20))
    reader.seconds = 0.05
    late = memory.search("default", "river", k=20, timeout=0.01)
    assert not late.complete and len(late) == 20
    read = [hit.mark is not None for hit in late]
    assert read == sorted(read, reverse=True) and sum(read) < 10
    none = memory.search("default", ["river", "boat"], k=20, timeout=1e-9)
    assert not none.complete and not any(hit.mark for hit in none)
    assert {hit.chunk.id for hit in memory.search("default", "river", k=10, rerank=False)} <= {
        hit.chunk.id for hit in memory.search("default", "river", k=30, timeout=1e-9)
    }
    with pytest.raises(InvalidRequest) as refused:
        memory.search("default", "river", timeout=0)
    assert refused.value.field == "cogcore.timeout"


class Sure:
    """Is as sure of every passage that names a duck as it is told, and counts what it reads."""

    def __init__(self, probability: float) -> None:
        self.probability, self.count = probability, 0

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        self.count += len(passages)
        return [Mark(0, 4, self.probability if "duck" in text else 0.01) for text in passages]


@pytest.mark.parametrize(("probability", "k", "read"), [(0.99, 4, 4), (0.99, 6, 6), (0.99, 1, 4), (0.3, 4, None)])
def test_a_search_for_the_best_alone_reads_until_one_is_sure(
    open_memory: Open, probability: float, k: int, read: int | None
) -> None:
    reader = Sure(probability)
    memory = open_memory(reader=reader)
    for n in range(12):
        short(memory, f"{n}.md", " ".join(["duck"] * (n == 0) + ["boat"] * (n < 7) + ["lamp", WORDS[n]]))
    worth = sum(hit.score >= 0.3 for hit in memory.search("default", "duck boat lamp", k=10, rerank=False))
    assert 4 < worth < 10
    hits = memory.search("default", "duck boat lamp", k=k, until_sure=True)
    assert reader.count == (read or worth) and hits.complete
    assert len(hits) == k and all(hit.mark for hit in hits)
    assert hits[0] == memory.search("default", "duck boat lamp", k=k)[0]
    assert reader.count == (read or worth) + 10


@pytest.mark.parametrize("reader", [None, Slow()])
@pytest.mark.parametrize("timeout", [None, 1e-9])
def test_scores_fall_from_the_first_to_the_last_within_0_and_1(
    open_memory: Open, reader: Slow | None, timeout: float | None, tmp_path: Path
) -> None:
    memory = open_memory(reader=reader)
    for n in range(30):
        short(memory, f"{n}.md", f"{WORDS[n % 12]} and {WORDS[n * 5 % 12]} number {n}.")
    for asked in ("boat", ["boat", "lamp ledger"], "nothing of all that"):
        scores = [hit.score for hit in memory.search("default", asked, k=30, timeout=timeout)]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
