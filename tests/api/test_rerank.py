"""Reranking by the memory's reader: the passage that answers comes first, scores are probabilities."""

from typing import Any

import httpx
import pytest

DOCUMENTS = [
    "The Little Ebb is a side arm of the Sorne. Its bridge was built in 1874 by the engineer Ada Brandt.",
    "Dogs must be kept on a lead in the whole park.",
    "The Sorne is the longest river of the valley. It is 312 kilometres long and ends in Lake Arven.",
]
ASKED = {"model": "cogcore-reader", "query": "How long is the Sorne?", "documents": DOCUMENTS}


def ask(raw: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = raw.post("/v1/rerank", json={**ASKED, **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_what_answers_comes_first(raw: httpx.Client) -> None:
    told = ask(raw)
    assert set(told) == {"id", "model", "results", "usage"}
    assert (told["results"][0]["index"], told["model"]) == (2, "cogcore-reader")
    scores = [one["relevance_score"] for one in told["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert scores[0] > 0.5 > scores[1]
    assert {one["index"] for one in told["results"]} == {0, 1, 2}
    assert all(set(one) == {"index", "relevance_score"} for one in told["results"])
    assert told["usage"]["total_tokens"] > 60


def test_documents_come_back_as_they_were_given(raw: httpx.Client) -> None:
    given = [DOCUMENTS[1], {"text": DOCUMENTS[2], "title": "Rivers"}]
    (best,) = ask(raw, documents=given, top_n=1, return_documents=True)["results"]
    assert (best["index"], best["document"]) == (1, given[1])
    told = ask(raw, documents=given, top_n=5, return_documents=True)["results"]
    assert told[1]["document"] == {"text": DOCUMENTS[1]}


def test_many_documents_keep_their_numbers(raw: httpx.Client) -> None:
    told = ask(raw, documents=[*[DOCUMENTS[1]] * 19, DOCUMENTS[2], ""])["results"]
    assert (told[0]["index"], told[-1]) == (19, {"index": 20, "relevance_score": 0.0})


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("model", "rerank-v3.5", 404),
        ("query", " ", 400),
        ("documents", [], 400),
        ("documents", "one", 400),
        ("documents", [{"title": "none"}], 400),
        ("documents", ["a"] * 1001, 400),
        ("documents", ["some " * 4000] * 80, 400),
        ("top_n", 0, 400),
        ("rank_fields", ["title"], 400),
    ],
)
def test_refused_by_name(raw: httpx.Client, field: str, value: Any, status: int) -> None:
    answer = raw.post("/v1/rerank", json={**ASKED, field: value})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == field
