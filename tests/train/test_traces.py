"""Traces are real searches: what they call the answer stands in the passage they say, and a second run adds nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.train.traces import Traces
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader


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
