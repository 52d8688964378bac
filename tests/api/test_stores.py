"""Vector stores through OpenAI's client: documents in, hits out, and gone when removed."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import RIVERS

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def store(client: OpenAI) -> Iterator[str]:
    made = client.vector_stores.create(name="valley")
    yield made.id
    client.vector_stores.delete(made.id)


def upload(client: OpenAI, data: bytes = RIVERS, name: str = "rivers.md") -> str:
    return client.files.create(file=(name, data), purpose="assistants").id


def test_life_of_a_store(client: OpenAI) -> None:
    made = client.vector_stores.create(
        name="atlas",
        description="maps",
        metadata={"owner": "ada"},
        expires_after={"anchor": "last_active_at", "days": 3},
    )
    assert (made.object, made.name, made.status, made.metadata) == (
        "vector_store",
        "atlas",
        "completed",
        {"owner": "ada"},
    )
    assert made.file_counts.total == 0
    assert made.expires_at is not None
    assert made.last_active_at is not None
    assert made.expires_at - made.last_active_at == 3 * 86400
    assert client.vector_stores.retrieve(made.id) == made
    assert made.id in {s.id for s in client.vector_stores.list(limit=1)}

    changed = client.vector_stores.update(made.id, name="charts")
    assert (changed.name, changed.metadata, changed.expires_at) == ("charts", {"owner": "ada"}, made.expires_at)
    changed = client.vector_stores.update(made.id, metadata=None, expires_after=None)
    assert (changed.metadata, changed.expires_at) == ({}, None)

    gone = client.vector_stores.delete(made.id)
    assert gone.model_dump() == {"id": made.id, "object": "vector_store.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(made.id)


def test_what_is_left_out_of_a_document_is_told(client: OpenAI, raw: httpx.Client, store: str) -> None:
    text = "\n\n".join(f"# {title}\n\n{'The Sorne is long. ' * 40}" for title in ("River", "River"))
    file_id = upload(client, f"{text}\n".encode(), "twice.md")
    client.vector_stores.files.create_and_poll(file_id, vector_store_id=store)
    told = raw.get(f"/v1/vector_stores/{store}/files/{file_id}").json()
    assert told["status"] == "completed" and told["cogcore"] == {"left_out": {"duplicate": 1}, "progress": None}
    assert len(client.vector_stores.search(store, query="How long is the Sorne?").data) == 1
    spoilt = client.vector_stores.files.create_and_poll(upload(client, b"-- --\n", "empty.txt"), vector_store_id=store)
    assert spoilt.status == "failed" and spoilt.last_error is not None
    assert "1 without words" in spoilt.last_error.message


def test_a_new_version_takes_the_place_of_the_old(client: OpenAI, raw: httpx.Client, store: str) -> None:
    old, new = upload(client, b"The Sorne is 20 km long.", "s.md"), upload(client, b"The Sorne is 21 km long.", "s.md")
    client.vector_stores.files.create_and_poll(old, vector_store_id=store)
    wanted = {"file_id": new, "cogcore": {"replaces": [old]}}
    begun = raw.post(f"/v1/vector_stores/{store}/files", json=wanted).json()
    assert begun["status"] == "completed" or begun["cogcore"]["progress"]["stage"]
    client.vector_stores.files.poll(new, vector_store_id=store)
    assert [file.id for file in client.vector_stores.files.list(store)] == [new]
    wanted["cogcore"] = {"replaces": ["file-none"]}
    assert raw.post(f"/v1/vector_stores/{store}/files", json=wanted).status_code == 404


def test_a_document_is_found_until_it_is_removed(client: OpenAI, store: str) -> None:
    file_id = upload(client)
    attached = client.vector_stores.files.create_and_poll(file_id, vector_store_id=store, attributes={"year": 1874})
    assert (attached.object, attached.id, attached.status) == ("vector_store.file", file_id, "completed")
    assert attached.vector_store_id == store
    assert attached.last_error is None
    assert attached.usage_bytes > 0
    assert client.vector_stores.retrieve(store).file_counts.completed == 1

    page = client.vector_stores.search(store, query="How long is the Sorne?")
    hit = page.data[0]
    assert (hit.file_id, hit.filename, hit.attributes) == (file_id, "rivers.md", {"year": 1874})
    assert 0 <= hit.score <= 1
    assert "312 kilometres" in hit.content[0].text
    parsed = client.vector_stores.files.content(file_id, vector_store_id=store).data[0].text
    assert parsed == RIVERS.decode().removeprefix("# ").strip()

    # Attaching again changes nothing: SDKs retry.
    again = client.vector_stores.files.create_and_poll(file_id, vector_store_id=store)
    assert again.status == "completed"
    assert [f.id for f in client.vector_stores.files.list(store)] == [file_id]

    removed = client.vector_stores.files.delete(file_id, vector_store_id=store)
    assert removed.model_dump() == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    assert client.vector_stores.search(store, query="How long is the Sorne?").data == []


def test_filters_attributes_and_ranking(client: OpenAI, store: str) -> None:
    ids = []
    for year, text in ((1900, b"The old bridge is red."), (2000, b"The new bridge is blue.")):
        ids.append(upload(client, text, f"{year}.txt"))
        client.vector_stores.files.create_and_poll(ids[-1], vector_store_id=store, attributes={"year": year})

    def found(filters: Any) -> set[str]:
        page = client.vector_stores.search(
            store,
            query=["bridge", "colour"],
            filters=filters,
            ranking_options={"ranker": "none"},
        )
        return {hit.filename for hit in page.data}

    newer = {"type": "gt", "key": "year", "value": 1950}
    assert found(newer) == {"2000.txt"}
    assert found({"type": "or", "filters": [newer, {"type": "eq", "key": "year", "value": 1900}]}) == {
        "1900.txt",
        "2000.txt",
    }
    client.vector_stores.files.update(ids[1], vector_store_id=store, attributes={"year": 1800})
    assert found(newer) == set()
    nulls = dict.fromkeys(("filters", "max_num_results", "ranking_options", "rewrite_query"))  # as litellm sends them
    assert client.vector_stores.search(store, query="bridge", extra_body=nulls).data
    one = client.vector_stores.search(store, query="bridge", max_num_results=1)
    assert len(one.data) == 1
    with pytest.raises(openai.BadRequestError) as refused:
        found({"type": "about", "key": "year", "value": 1})
    assert refused.value.param == "filters.type"


def test_a_search_may_ask_for_what_stands_around_its_hits_and_for_copies(
    client: OpenAI, raw: httpx.Client, store: str
) -> None:
    told = (
        "The ferry over the Sorne leaves at noon from the stone pier by the mill and takes six carts and forty people."
    )
    text = "\n\n".join((told, *(f"Of ferry number {n} the log says that its hull is made of oak." for n in range(12))))
    for name in ("ferry.md", "copy.md"):
        client.vector_stores.files.create_and_poll(
            upload(client, text.encode(), name),
            vector_store_id=store,
            chunking_strategy={
                "type": "static",
                "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0},
            },
        )

    def search(**more: Any) -> dict[str, Any]:
        body = {"query": "When does the ferry leave?", "max_num_results": 1, "cogcore": more}
        answer = raw.post(f"/v1/vector_stores/{store}/search", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    page = search(neighbours=500)
    (hit,) = page["data"]
    assert page["cogcore"] == {"complete": True} and hit["cogcore"]["alike"] == 1
    here = hit["cogcore"]
    assert text[here["start"] : here["end"]] == hit["content"][0]["text"]
    assert here["neighbours"]
    assert all(text[one["start"] : one["end"]] == one["text"] for one in here["neighbours"])
    (hit,) = search(distinct=False)["data"]
    assert hit["cogcore"]["alike"] == 0 and hit["cogcore"]["neighbours"] == []
    assert search(timeout=1e-6)["cogcore"] == {"complete": False}


def test_a_document_that_cannot_be_read_says_why(client: OpenAI, store: str) -> None:
    bad = client.vector_stores.files.create_and_poll(
        upload(client, b"%PDF-1.4 nothing", "bad.pdf"), vector_store_id=store
    )
    odd = client.vector_stores.files.create_and_poll(upload(client, b"\x00\x01\x02", "odd.xyz"), vector_store_id=store)
    assert (bad.status, odd.status) == ("failed", "failed")
    assert bad.last_error is not None
    assert odd.last_error is not None
    assert (bad.last_error.code, odd.last_error.code) == ("invalid_file", "unsupported_file")
    failed = client.vector_stores.files.list(store, filter="failed", order="asc", limit=1)
    assert [f.id for f in failed] == [bad.id, odd.id]
    assert client.vector_stores.files.list(store, filter="completed").data == []


def test_a_store_made_with_files_and_a_batch(client: OpenAI) -> None:
    ids = [upload(client, f"Page {n} is about topic {n}.".encode(), f"{n}.txt") for n in range(3)]
    made = client.vector_stores.create(name="batch", file_ids=ids[:2])
    assert made.file_counts.total == 2
    batch = client.vector_stores.file_batches.create_and_poll(
        made.id, files=[{"file_id": ids[2], "attributes": {"n": 2}}]
    )
    assert (batch.status, batch.file_counts.completed, batch.vector_store_id) == ("completed", 1, made.id)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=made.id).data
    assert [(f.id, f.attributes) for f in listed] == [(ids[2], {"n": 2})]
    both = client.vector_stores.file_batches.upload_and_poll(
        made.id, files=[("x.txt", b"text of x")], file_ids=[ids[0]]
    )
    assert both.file_counts.completed == 2
    client.vector_stores.files.poll(ids[1], vector_store_id=made.id)
    assert client.vector_stores.retrieve(made.id).file_counts.completed == 4


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"name": 5}, "name"),
        ("", {"colour": "red"}, "colour"),
        ("", {"metadata": {"a": "x" * 513}}, "metadata.a"),
        ("", {"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ("", {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
        ("", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ("", {"chunking_strategy": {"type": "magic"}}, "chunking_strategy"),
        ("/default/search", {}, "query"),
        ("/default/search", {"query": "  "}, "query"),
        ("/default/search", {"query": []}, "query"),
        ("/default/search", {"query": 5}, "query"),
        ("/default/search", {"query": "x", "max_num_results": 51}, "max_num_results"),
        ("/default/search", {"query": "x", "max_num_results": "5"}, "max_num_results"),
        ("/default/search", {"query": "x", "rewrite_query": True}, "rewrite_query"),
        (
            "/default/search",
            {"query": "x", "ranking_options": {"score_threshold": 2}},
            "ranking_options.score_threshold",
        ),
        ("/default/search", {"query": "x", "ranking_options": {"ranker": "other"}}, "ranking_options.ranker"),
        ("/default/search", {"query": "x", "cogcore": {"neighbours": 5000}}, "cogcore.neighbours"),
        ("/default/search", {"query": "x", "cogcore": {"timeout": 0}}, "cogcore.timeout"),
        ("/default/search", {"query": "x", "cogcore": {"depth": 3}}, "cogcore.depth"),
        ("/default/files", {"file_id": 7}, "file_id"),
        ("/default/file_batches", {}, "file_ids"),
        ("/default/file_batches", {"file_ids": []}, "file_ids"),
    ],
)
def test_bad_requests_name_the_field(raw: httpx.Client, path: str, body: object, param: str) -> None:
    answer = raw.post(f"/v1/vector_stores{path}", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_unknown_things_are_404(raw: httpx.Client, client: OpenAI) -> None:
    assert raw.get("/v1/vector_stores/vs_none").status_code == 404
    assert raw.post("/v1/vector_stores/vs_none/search", json={"query": "x"}).status_code == 404
    assert raw.post("/v1/vector_stores/default/files", json={"file_id": "file-none"}).status_code == 404
    assert raw.get("/v1/vector_stores/default/files/file-none").status_code == 404
    before = len(client.vector_stores.list(limit=100).data)
    assert raw.post("/v1/vector_stores", json={"name": "half", "file_ids": ["file-none"]}).status_code == 404
    assert len(client.vector_stores.list(limit=100).data) == before


def test_a_refused_store_is_not_left_behind(raw: httpx.Client, client: OpenAI) -> None:
    sizes = {"max_chunk_size_tokens": 5000, "chunk_overlap_tokens": 0}
    body = {"name": "half", "file_ids": [upload(client)], "chunking_strategy": {"type": "static", "static": sizes}}
    assert raw.post("/v1/vector_stores", json=body).status_code == 400
    # Half of a character would make every later listing fail.
    answer = raw.post("/v1/vector_stores", content=b'{"name": "half", "metadata": {"a": "b\\ud83d"}}', headers=JSON)
    assert answer.status_code == 400
    assert "half of a character (a lone surrogate) after" in answer.json()["error"]["message"]
    assert "half" not in {store.name for store in client.vector_stores.list(limit=100)}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
def test_bad_pages(raw: httpx.Client, query: str) -> None:
    answer = raw.get(f"/v1/vector_stores?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.split("=")[0]
