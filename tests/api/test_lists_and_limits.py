"""What OpenAI's documentation says of pages, limits and polling, through OpenAI's own client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from app.api.described.application import operations
from tests.api.live import scripted
from tests.fakes import ScriptedEngine


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder: Path = tmp_path_factory.mktemp("data")
    with (
        scripted(ScriptedEngine(), folder) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def files(client: OpenAI) -> list[str]:
    return [
        client.files.create(file=(f"{n}.txt", f"Pond {n} is deep.".encode()), purpose="assistants").id for n in range(5)
    ]


def test_all_lists_go_both_ways(client: OpenAI, files: list[str]) -> None:
    store = client.vector_stores.create(name="ponds").id
    batch = client.vector_stores.file_batches.create_and_poll(store, file_ids=files)
    assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == ("completed", 5, 5)
    others = [client.vector_stores.create(name=f"other{n}").id for n in range(4)]
    lists: list[tuple[list[str], Any, dict[str, Any]]] = [
        (files, client.vector_stores.files.list, {"vector_store_id": store}),
        (files, client.vector_stores.file_batches.list_files, {"vector_store_id": store, "batch_id": batch.id}),
        ([client.vector_stores.list(order="asc").data[0].id, store, *others], client.vector_stores.list, {}),
    ]
    for ids, list_, given in lists:
        for order, wanted in (("asc", ids), ("desc", ids[::-1])):
            assert [one.id for one in list_(**given, order=order, limit=2)] == wanted
            page = list_(**given, order=order, limit=2, after=wanted[1])
            assert [one.id for one in page.data] == wanted[2:4] and page.has_more
            page = list_(**given, order=order, limit=2, before=wanted[3])
            assert [one.id for one in page.data] == wanted[1:3] and page.has_more
            page = list_(**given, order=order, limit=3, before=wanted[2])
            assert [one.id for one in page.data] == wanted[:2] and not page.has_more
            page = list_(**given, order=order, after=wanted[0], before=wanted[3])
            assert [one.id for one in page.data] == wanted[1:3] and not page.has_more
        assert list_(**given, after=ids[-1], order="asc").data == []
        for cursor in ("after", "before"):
            with pytest.raises(openai.BadRequestError) as refused:
                list_(**given, **{cursor: "file-none"})
            assert refused.value.param == cursor
    for _, list_, given in lists[:2]:
        assert len(list_(**given, filter="completed").data) == 5
        assert list_(**given, filter="failed").data == []
        with pytest.raises(openai.BadRequestError):
            list_(**given, filter="lost")


def test_polling_is_told_how_often(client: OpenAI, files: list[str]) -> None:
    store = client.vector_stores.create(name="polled").id
    batch = client.vector_stores.file_batches.create(store, file_ids=files[:2])
    for asked in (
        client.vector_stores.files.with_raw_response.retrieve(files[0], vector_store_id=store),
        client.vector_stores.file_batches.with_raw_response.retrieve(batch.id, vector_store_id=store),
    ):
        assert int(asked.headers["openai-poll-after-ms"]) > 0


def test_adding_again_changes_nothing_and_sizes_split_anew(client: OpenAI, files: list[str]) -> None:
    store = client.vector_stores.create(name="again").id

    def add(**given: Any) -> Any:
        return client.vector_stores.files.create_and_poll(files[0], vector_store_id=store, **given)

    first = add(attributes={"n": 1})
    version = client.vector_stores.retrieve(store).model_extra["version"]  # type: ignore[index]
    assert add() == first and add(chunking_strategy={"type": "auto"}) == first
    batch = client.vector_stores.file_batches.create_and_poll(store, file_ids=[files[0], files[0], files[1]])
    assert batch.file_counts.total == 2
    assert client.vector_stores.retrieve(store).model_extra["version"] == version + 1  # type: ignore[index]
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    again = add(chunking_strategy=static)
    assert again.status == "completed" and again.chunking_strategy.model_dump() == static
    assert again.attributes == {"n": 1}
    assert len(client.vector_stores.search(store, query="Pond 0").data) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"attributes": {str(n): n for n in range(17)}}, "attributes"),
        ({"attributes": {"k" * 65: 1}}, "attributes"),
        ({"attributes": {"": 1}}, "attributes"),
        ({"attributes": {"a": "v" * 513}}, "attributes.a"),
        ({"attributes": {"a": None}}, "attributes.a"),
        ({"attributes": {"a": [1]}}, "attributes.a"),
        ({"chunking_strategy": {"type": "static"}}, "chunking_strategy"),
        ({"chunking_strategy": {"type": "auto", "static": {}}}, "chunking_strategy"),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 4097, "chunk_overlap_tokens": 0},
                }
            },
            "chunking_strategy.static.max_chunk_size_tokens",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0},
                }
            },
            "chunking_strategy.static.max_chunk_size_tokens",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
                }
            },
            "chunking_strategy.static.chunk_overlap_tokens",
        ),
    ],
)
def test_limits_name_the_field(client: OpenAI, files: list[str], body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.vector_stores.files.create("default", file_id=files[0], extra_body=body)
    assert refused.value.param == param


def test_what_is_just_within_the_limits_passes(client: OpenAI, files: list[str]) -> None:
    store = client.vector_stores.create(name="widest", metadata={"k" * 64: "v" * 512}).id
    widest: dict[str, str | float | bool] = {f"{n:064}": "v" * 512 for n in range(14)}
    widest |= {"number": 1.5, "yes": True}
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 4096, "chunk_overlap_tokens": 2048}}
    made = client.vector_stores.files.create_and_poll(
        files[0], vector_store_id=store, attributes=widest, chunking_strategy=static
    )
    assert made.status == "completed" and made.attributes == widest


def test_how_many_files_at_once(client: OpenAI, files: list[str]) -> None:
    for attempt, param in (
        (lambda: client.vector_stores.file_batches.create("default", file_ids=files[:1] * 2001), "file_ids"),
        (lambda: client.vector_stores.create(file_ids=files[:1] * 501), "file_ids"),
        (
            lambda: client.vector_stores.file_batches.create(
                "default", file_ids=files[:1], extra_body={"files": [{"file_id": files[0]}]}
            ),
            "file_ids",
        ),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            attempt()
        assert refused.value.param == param
    assert client.vector_stores.file_batches.create("default", file_ids=files[:1] * 2000).file_counts.total == 1


def test_an_unknown_parameter_is_refused_by_name_on_every_route(client: OpenAI) -> None:
    with httpx.Client(base_url=str(client.base_url.join("/"))) as plain:
        for route, _ in operations(plain.get("/openapi.json").json()):
            method, path = route.split(" ")
            answer = plain.request(method, path, params={"colour": "red"}, json={})
            strict = path.startswith("/v1/") and not path.startswith("/v1/passages/")  # browsers add to links
            code = answer.json()["error"]["code"] if answer.status_code == 400 else None
            assert (code == "unknown_parameter") == strict, (route, answer.text)
            assert not strict or answer.json()["error"]["param"] == "colour", route


def sent(client: OpenAI, path: str, body: str) -> httpx.Response:
    """What OpenAI's client would not send."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return httpx.post(f"http://127.0.0.1:{client.base_url.port}{path}", content=body, headers=headers)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "1" + "0" * 400])
@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/responses", {"input": "Hi", "tools": [{"parameters": [1, ...]}]}, "tools[0].parameters[1]"),
        ("/v1/responses", {"input": "Hi", "temperature": ...}, "temperature"),
        ("/v1/vector_stores/default/files", {"file_id": "file-1", "attributes": {"n": ...}}, "attributes.n"),
        ("/v1/vector_stores/default/search", {"query": "n", "filters": {"value": ...}}, "filters.value"),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"n": ...}}, "params.n"),
    ],
)
def test_a_number_that_is_none_is_refused_and_found(
    client: OpenAI, number: str, path: str, body: dict[str, Any], where: str
) -> None:
    answer = sent(client, path, json.dumps(body, default=lambda _: "number").replace('"number"', number))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith(f"'{where}' must be a number between -1.8e+308")


def test_a_body_is_nested_so_deep_that_it_can_be_told_again(client: OpenAI) -> None:
    def create(depth: int) -> httpx.Response:
        lists = "[" * (depth - 3) + "]" * (depth - 3)
        return sent(client, "/v1/conversations", f'{{"items": [{{"type": "reasoning", "content": {lists}}}]}}')

    made = create(100)
    assert made.status_code == 200, made.text
    told = httpx.get(f"{client.base_url}conversations/{made.json()['id']}/items")
    assert told.status_code == 200 and "[" * 97 in told.text
    for depth in (101, 300, 950):
        refused = create(depth)
        assert refused.status_code == 400 and "nested deeper than 100" in refused.json()["error"]["message"], depth
    assert create(100_000).status_code == 400
