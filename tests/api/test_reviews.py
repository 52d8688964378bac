"""Answers marked for a human, end to end: marked, listed, decided, forgotten. The server has no autonomy at all."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from app.api import Parts
from app.api.reviews import forget_gone
from app.cores.load import load_core
from app.keys import ORGANISATION
from app.reviews import Reviews
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder

PATH = "/v1/cogcore/reviews"
QUESTION = "How long is the Sorne?"
LENGTH = "It is 312 kilometres long and ends in Lake Arven."


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader, device: str) -> Parts:
    folder = tmp_path_factory.mktemp("data")
    memory = Memory(folder, embedder, reader)
    return Parts(load_core(device=device, threads=1), memory, read(data_dir=folder, autonomy=0))


def ask(client: OpenAI, question: str = QUESTION, choice: Any = "required", **extension: Any) -> dict[str, Any]:
    """The extension of a whole answer. Decides nothing by itself, so that the tests hold for any core."""
    reply = client.chat.completions.create(
        model="cogcore",
        messages=[{"role": "user", "content": question}],
        tool_choice=choice,
        extra_body={"cogcore": {"abstain_below": 0.0, **extension}},
    )
    told: dict[str, Any] = (reply.model_extra or {})["cogcore"]
    return {**told, "reply": reply.choices[0].message.content}


def document(client: OpenAI, name: str, text: str) -> str:
    file = client.files.create(file=(name, text.encode()), purpose="assistants")
    client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
    return file.id


def on_disk(parts: Parts, words: str) -> bool:
    """Whether the record still has these words anywhere in its files."""
    found = list(parts.settings.data_dir.glob("reviews*"))
    assert found
    return any(words.encode() in path.read_bytes() for path in found)


def test_nothing_is_written_before_something_is_marked(
    client: OpenAI, raw: httpx.Client, rivers: str, parts: Parts
) -> None:
    assert ask(client, autonomy=1.0)["status"] == "answered"
    forget_gone(parts)
    client.files.delete(client.files.create(file=("a.md", b"A"), purpose="assistants").id)
    assert not list(parts.settings.data_dir.glob("reviews*"))
    assert raw.get(PATH).json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_marked_answer_is_listed_with_what_it_stands_on(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    told = ask(client)
    assert told["status"] == "needs_review"
    review = raw.get(f"{PATH}/{told['review']}").json()
    assert raw.get(PATH, params={"limit": 1}).json()["data"] == [review]
    same = {key: told[key] for key in ("answer", "confidence", "reply")}
    assert {key: review[key] for key in same} == same
    assert (review["object"], review["model"], review["question"]) == ("cogcore.review", "cogcore", QUESTION)
    assert (review["verdict"], review["note"], review["decided_at"]) == (None, None, None)
    for kind, kept in (("citations", told["citations"]), ("hits", told["searches"][0]["hits"])):
        assert kept
        assert review[kind] == [{key: one[key] for key in review[kind][0]} for one in kept]
    assert review["citations"][0]["file_id"] == rivers
    assert review["citations"][0]["quote"] == LENGTH


def test_a_streamed_answer_is_listed_before_its_last_chunks(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    before = raw.get(PATH).json()["first_id"]
    conversation: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    stream = client.chat.completions.create(
        model="cogcore",
        messages=conversation,
        tool_choice="required",
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"cogcore": {"abstain_below": 0.0}},
    )
    text, told, listed = "", dict[str, Any](), {}
    for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        if any(choice.finish_reason for choice in chunk.choices):
            listed = raw.get(PATH).json()["data"][0]
        told = (chunk.model_extra or {}).get("cogcore", told)
    assert told["status"] == "needs_review"
    assert listed["id"] == told["review"] != before
    assert (listed["question"], listed["reply"]) == (QUESTION, text)


def test_what_claims_nothing_is_not_marked(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    before = raw.get(PATH).json()["first_id"]
    talk = ask(client, "Hello there", choice="none", need_threshold=1.0)
    assert (talk["status"], talk["review"], talk["searches"]) == ("answered", None, [])
    abstained = ask(client, abstain_below=1.0)
    assert (abstained["status"], abstained["review"], abstained["abstained"]) == ("abstained", None, True)
    # It shows what it found.
    assert abstained["searches"][0]["hits"][0]["file_id"] == rivers
    assert abstained["confidence"] < 1
    assert raw.get(PATH).json()["first_id"] == before


def test_a_calculation_is_marked_too(client: OpenAI, raw: httpx.Client) -> None:
    told = ask(client, "What is 3 + 4?", choice={"type": "function", "function": {"name": "calculate"}})
    assert told["calculations"]
    assert told["status"] == "needs_review"
    review = raw.get(f"{PATH}/{told['review']}").json()
    assert (review["reply"], review["hits"], review["citations"]) == (told["reply"], [], [])


def test_a_request_may_ask_for_another_autonomy(client: OpenAI, rivers: str) -> None:
    confidence = ask(client)["confidence"]
    assert 0.03 < confidence < 0.97  # so that both lie within [0, 1]
    assert ask(client, autonomy=1 - confidence + 0.03)["status"] == "answered"
    assert ask(client, autonomy=1 - confidence - 0.03)["status"] == "needs_review"
    with pytest.raises(openai.BadRequestError, match=r"cogcore\.autonomy"):
        ask(client, autonomy=1.1)


def test_verdicts(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    one, two = (f"{PATH}/{ask(client)['review']}" for _ in range(2))
    decided = raw.post(one, json={"verdict": "rejected", "note": "The old bed is shorter."})
    assert decided.status_code == 200
    assert decided.json() == raw.get(one).json()
    assert (decided.json()["verdict"], decided.json()["note"]) == ("rejected", "The old bed is shorter.")
    assert decided.json()["decided_at"] >= decided.json()["created_at"]
    # A human may think again.
    again = raw.post(one, json={"verdict": "approved"}).json()
    assert (again["verdict"], again["note"]) == ("approved", None)

    def listed(decided: bool) -> list[str]:
        data = raw.get(PATH, params={"decided": decided, "limit": 100}).json()["data"]
        return [f"{PATH}/{review['id']}" for review in data]

    assert (one in listed(True), one in listed(False)) == (True, False)
    assert (two in listed(True), two in listed(False)) == (False, True)
    for body in ({"verdict": "maybe"}, {}, {"verdict": "approved", "who": "me"}, {"verdict": "approved", "note": 5}):
        assert raw.post(two, json=body).status_code == 400
    assert raw.get(two).json()["verdict"] is None


def test_pages(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    made = [ask(client)["review"] for _ in range(3)]

    def ids(**query: Any) -> list[str]:
        return [review["id"] for review in raw.get(PATH, params=query).json()["data"]]

    assert ids(limit=3) == made[::-1]
    assert raw.get(PATH, params={"limit": 1}).json()["has_more"]
    assert ids(after=made[2], limit=2) == [made[1], made[0]]
    assert ids(before=made[0], limit=1) == [made[1]]
    assert ids(order="asc", after=made[0]) == made[1:]
    for query in ({"after": "review_0"}, {"limit": 0}, {"order": "up"}, {"decided": "perhaps"}):
        assert raw.get(PATH, params=query).status_code == 400


def test_deleting_a_review(client: OpenAI, raw: httpx.Client, rivers: str, parts: Parts) -> None:
    path = f"{PATH}/{ask(client, 'How long is the river Sorne in Gondwana?')['review']}"
    assert on_disk(parts, "Gondwana")
    gone = raw.delete(path)
    assert gone.json() == {"id": path.split("/")[-1], "object": "cogcore.review.deleted", "deleted": True}
    assert not on_disk(parts, "Gondwana")
    for answer in (raw.get(path), raw.delete(path), raw.post(path, json={"verdict": "approved"})):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


def test_a_deleted_document_leaves_no_words_behind(
    client: OpenAI, raw: httpx.Client, rivers: str, parts: Parts
) -> None:
    file_id = document(client, "bridge.md", "The bridge at Quellmoor was built by Tamsin Oakhurst.")
    told = ask(client, "Who built the bridge at Quellmoor?")
    assert told["citations"][0]["file_id"] == file_id
    assert on_disk(parts, "Tamsin")
    client.files.delete(file_id)
    review = raw.get(f"{PATH}/{told['review']}").json()
    assert (review["reply"], review["answer"]) == (None, None)
    assert review["question"] == "Who built the bridge at Quellmoor?"
    assert {(cited["filename"], cited["quote"]) for cited in review["citations"]} == {(None, None)}
    # Of the other documents that were found, the quotes are still there.
    assert {hit["filename"] for hit in review["hits"]} == {None, "rivers.md"}
    assert "Tamsin" not in str(review)
    assert not on_disk(parts, "Tamsin")


def test_a_document_that_went_by_itself(client: OpenAI, raw: httpx.Client, rivers: str, parts: Parts) -> None:
    file_id = document(client, "mill.md", "The mill at Quellmoor was built by Ansel Wickham.")
    path = f"{PATH}/{ask(client, 'Who built the mill at Quellmoor?')['review']}"
    # As when it expires.
    parts.memory.delete_file(file_id)
    forget_gone(parts)
    assert raw.get(path).json()["reply"] is None
    assert not on_disk(parts, "Ansel")
    forget_gone(parts)


def test_a_detached_document_is_only_not_quoted(client: OpenAI, raw: httpx.Client, rivers: str) -> None:
    file_id = document(client, "ferry.md", "The ferry at Quellmoor is steered by Odile Marsh.")
    told = ask(client, "Who steers the ferry at Quellmoor?")
    client.vector_stores.files.delete(file_id, vector_store_id="default")
    review = raw.get(f"{PATH}/{told['review']}").json()
    assert review["reply"] == told["reply"]
    assert review["citations"][0]["quote"] is None
    client.files.delete(file_id)


def test_a_review_is_on_disk_when_it_is_told(client: OpenAI, rivers: str, parts: Parts) -> None:
    review_id = ask(client)["review"]
    other = Reviews(parts.settings.data_dir / "reviews.sqlite")
    assert other.get(review_id, ORGANISATION).question == QUESTION
    other.close()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_listed_goes_out(
    raw: httpx.Client,
    rivers: str,
    parts: Parts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
) -> None:
    (tmp_path / "file").touch()
    broken = Reviews(tmp_path / "file" / "reviews.sqlite")
    monkeypatch.setitem(parts.__dict__, "reviews", broken)
    body = {"model": "cogcore", "messages": [{"role": "user", "content": QUESTION}], "tool_choice": "required"}
    answer = raw.post("/v1/chat/completions", json={**body, "stream": stream, "cogcore": {"abstain_below": 0}})
    assert answer.status_code == 200
    assert '"status":"needs_review","review":null' in answer.text
    assert "312" in answer.text
    assert "could not be listed" in caplog.text
    assert "cannot be used: File exists" in caplog.text


def test_openapi_describes_it(raw: httpx.Client) -> None:
    described = raw.get("/openapi.json").json()
    assert {"get", "post", "delete"} == set(described["paths"][f"{PATH}/{{review_id}}"])
    assert {"verdict", "reply", "citations"} <= set(described["components"]["schemas"]["ReviewObject"]["properties"])
    assert "needs_review" in described["components"]["schemas"]["Extension"]["properties"]["autonomy"]["description"]
    assert "needs_review" in described["paths"]["/v1/chat/completions"]["post"]["description"]
