"""Traces are real searches: what they call the answer stands in the passage they say, and a second run adds nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.agent.turn import Policy
from app.cores.profile import TINY
from app.train.sources import Sources
from app.train.traces import ELSEWHERE, EVERYWHERE, Traces
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader
from index.types import Hit, Mark
from tests.train import small


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("traces")
    memory = Memory(folder / "memory", load_embedder(), load_reader())
    try:
        Traces(memory, folder / "traces.jsonl").organisations(range(1), each=24)
        once = (folder / "traces.jsonl").read_text("utf-8")
        Traces(memory, folder / "traces.jsonl").organisations(range(1), each=24)
        assert (folder / "traces.jsonl").read_text("utf-8") == once
    finally:
        memory.close()
    return [json.loads(line) for line in once.splitlines()]


def test_answers_stand_where_a_trace_says(rows: list[dict[str, Any]]) -> None:
    found = [row for row in rows if row["gold"] is not None]
    assert len(found) >= 5 and len(rows) - len(found) >= 3
    for row in found:
        assert row["gold"] in row["answering"]
        text = row["hits"][row["gold"]]["text"]
        value = text[slice(*row["span"])]
        assert value and value == value.strip()


def test_marks_and_scores_are_the_readers(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        scores = [hit["score"] for hit in row["hits"]]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        for hit in row["hits"]:
            start, end, probability = hit["mark"]
            assert 0 <= start < end <= len(hit["text"]) and 0 <= probability <= 1


def test_own_documents_are_searched_with_and_without_what_states_the_answer(tmp_path: Path) -> None:
    documents = tmp_path / "handbook"
    documents.mkdir()
    for name, text in OWN.items():
        (documents / name).write_text(text, "utf-8")
    memory = Memory(tmp_path / "memory", load_embedder(), load_reader())
    try:
        for _ in range(2):
            Traces(memory, tmp_path / "own.jsonl").documents(documents, count=3)
    finally:
        memory.close()
    rows = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text("utf-8").splitlines()]
    with_it, without = rows[::2], rows[1::2]
    assert len(rows) == 2 * len({row["question"] for row in rows}) >= 4
    for row in with_it:
        value = row["hits"][row["gold"]]["text"][slice(*row["span"])]
        assert value in {"Kelvo", "4.25", "1987"}
    for row, other in zip(with_it, without, strict=True):
        assert row["question"] == other["question"] and other["gold"] is None
        assert all(hit["text"] != row["hits"][row["gold"]]["text"] for hit in other["hits"])


OWN = {
    "pump.md": "The feed pump of the mill was built by the firm of Kelvo.\n",
    "fees.md": "Members of the rowing club pay a boat fee of 4.25 each season.\n",
    "mill.md": "The mill beside the weir was restored in 1987 after the flood.\n",
}


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    made = Memory(tmp_path_factory.mktemp("memory"), load_embedder(), load_reader())
    yield made
    made.close()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Streams that are alike, a harbour whose own paragraph no search for it finds, and mills, which are held out."""
    streams = [
        (text, [small.asked(text, f"How many {what} does the stream {name} have?", str(n))])
        for n, name, what in [(n, name, ("boats", "mills")[n % 2]) for n, name in enumerate(NAMES, 11)]
        for text in [f"The stream {name} has {n} {what} and is full of water in spring."]
    ]
    built = "The old notes say 1931, of water and stone."
    harbour = [f"The harbour of Tarn was built of water and {stone} in 1931." for stone in STONES]
    asked = [
        small.asked(built, "When was the harbour of Tarn built?", "1931"),
        small.asked(built, "What does the harbour of Tarn hold?", "water"),
    ]
    mill = "The mill of Kelvo ground corn in 1850 and has no water."
    folder: Path = tmp_path_factory.mktemp("data")
    small.squad(folder, {
        "Streams": streams,
        "Harbour": [(built, asked), *((text, []) for text in harbour)],
        "Mills": [(mill, [small.asked(mill, "What did the mill of Kelvo grind?", "corn")])],
    })  # fmt: skip
    return Sources(folder, held=[2])


NAMES = "Alder Birch Cedar Dogwood Elder Fir Gorse Hazel Ivy Juniper".split()
STONES = "granite marble slate basalt flint chalk sandstone".split()


class Killed(Exception):
    """The process died."""


class Dying(Traces):
    """Traces of a process that dies at its ninth search."""

    searches = 0

    def _search(self, store: str, query: str, filters: Mapping[str, object] | None = None) -> list[Hit]:
        self.searches += 1
        if self.searches == 9:
            raise Killed
        return super()._search(store, query, filters)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def searched(memory: Memory, sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    made = Traces(memory, tmp_path_factory.mktemp("squad") / "traces.jsonl")
    made.squad(sources, articles=3, count=99)
    return made


def test_a_squad_question_is_searched_for_with_its_paragraph_without_and_altered(
    searched: Traces, sources: Sources
) -> None:
    rows, answers = lines(searched.kept.out), {q.question: q for q in sources.squad()}
    found = [row for row in rows if row["gold"] is not None]
    assert len(found) >= 8
    for row in found:
        item, hit = answers[row["question"]], row["hits"][row["gold"]]
        assert hit["text"] == sources.paragraphs[item.paragraph]
        assert row["span"] == [item.start, item.end] and row["gold"] in row["answering"]
    absent = [row for row in rows if row["gold"] is None and row["question"] in answers]
    assert len(absent) >= 8
    for row in absent:
        item = answers[row["question"]]
        answer = sources.paragraphs[item.paragraph][item.start : item.end]
        assert row["hits"] and not any(answer in hit["text"] for hit in row["hits"])
    altered = [row for row in rows if row["question"] not in answers]
    assert altered and all(row["gold"] is None and row["answering"] == [] for row in altered)
    for row in altered:
        assert (
            row["question"].replace("boats", "mills") in answers or row["question"].replace("mills", "boats") in answers
        )


def test_searches_that_nobody_could_judge_are_left_out_and_told(searched: Traces) -> None:
    rejected = {(row["question"], row["why"]) for row in lines(searched.kept.rejected)}
    assert ("When was the harbour of Tarn built?", ELSEWHERE) in rejected
    assert ("What does the harbour of Tarn hold?", EVERYWHERE) in rejected
    assert sum(searched.kept.reasons().values()) == len(rejected)
    kept = [row["question"] for row in lines(searched.kept.out)]
    assert kept.count("When was the harbour of Tarn built?") == 1  # without its paragraph


def test_a_killed_run_goes_on_to_the_same_files(
    searched: Traces, memory: Memory, sources: Sources, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        Dying(memory, tmp_path / "traces.jsonl").squad(sources, articles=3, count=99)
    assert 0 < len(lines(tmp_path / "traces.jsonl")) < len(lines(searched.kept.out))
    for _ in range(2):
        resumed = Traces(memory, tmp_path / "traces.jsonl")
        resumed.squad(sources, articles=3, count=99)
        assert resumed.kept.out.read_text("utf-8") == searched.kept.out.read_text("utf-8")
        assert resumed.kept.reasons() == searched.kept.reasons()


def test_what_is_held_out_is_asked_about_alone_and_found_in_no_other_search(
    searched: Traces, memory: Memory, sources: Sources, tmp_path: Path
) -> None:
    held = Traces(memory, tmp_path / "held.jsonl")
    held.squad(sources, articles=3, count=99, held=True)
    assert {row["question"] for row in lines(held.kept.out)} == {"What did the mill of Kelvo grind?"}
    assert any(row["gold"] is not None for row in lines(held.kept.out))
    assert not any("mill of Kelvo" in hit["text"] for row in lines(searched.kept.out) for hit in row["hits"])


class Sure:
    """A reader that takes the beginning of every passage for the answer, and counts what it reads at once."""

    def __init__(self) -> None:
        self.read_at_once: set[int] = set()

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        self.read_at_once.add(len(passages))
        return [Mark(0, 3, 0.98) for _ in passages]


def test_a_search_reads_and_shows_what_a_turn_would(sources: Sources, tmp_path: Path) -> None:
    reader = Sure()
    memory = Memory(tmp_path / "memory", load_embedder(), reader)
    try:
        Traces(memory, tmp_path / "traces.jsonl").squad(sources, articles=3, count=2)
    finally:
        memory.close()
    assert reader.read_at_once == {Policy().hits}
    assert {len(row["hits"]) for row in lines(tmp_path / "traces.jsonl")} == {TINY.passages}
