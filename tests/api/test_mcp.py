"""The Model Context Protocol by its own client, over HTTP against the running server, in both of its eras."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
import pytest
from mcp import MCPError, types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from openai import OpenAI

from app.api import Parts
from app.api.mcp import FETCHED
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.settings import read
from index.memory import Memory
from tests.api.conftest import RIVERS
from tests.api.live import live
from tests.fakes import HashedWords, ScriptedEngine

Era = Literal["auto", "legacy"]
T = TypeVar("T")


def talk(base_url: str, work: Callable[[Client], Awaitable[T]], era: Era = "auto", key: str = "") -> T:
    """What the work of a connected client comes to."""

    async def connected() -> T:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            create_mcp_http_client(headers) as http,
            Client(streamable_http_client(f"{base_url}/mcp", http_client=http), mode=era) as client,
        ):
            return await work(client)

    return asyncio.run(connected())


def call(base_url: str, tool: str, era: Era = "auto", key: str = "", **arguments: Any) -> dict[str, Any]:
    """A tool's result, which says the same in text and structured."""
    told = talk(base_url, lambda client: client.call_tool(tool, arguments), era, key)
    (content,) = told.content
    assert not told.is_error and isinstance(content, types.TextContent), told
    made: dict[str, Any] = json.loads(content.text)
    assert made == told.structured_content
    return made


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_search_and_fetch(server: str, rivers: str, raw: httpx.Client, era: Era) -> None:
    tools = talk(server, lambda client: client.list_tools(), era).tools
    assert {tool.name: tool.input_schema["required"] for tool in tools} == {"search": ["query"], "fetch": ["id"]}
    best = call(server, "search", era, query="How long is the Sorne?")["results"][0]
    assert set(best) == {"id", "title", "url", "text"}
    assert "312 kilometres" in best["text"] and best["title"].startswith("rivers.md")
    document = call(server, "fetch", era, id=best["id"])
    assert document["text"] == RIVERS.decode().removeprefix("# ").strip()
    assert (document["id"], document["title"]) == (best["id"], best["title"])
    assert document["metadata"]["file_id"] == rivers
    assert "<mark>" in raw.get(best["url"]).text


def test_what_cannot_be_done_is_told_to_the_model(server: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("fetch", {"id": "chunk_0"}),
        ("search", {}),
        ("search", {"query": " "}),
        ("search", {"query": 7}),
        ("search", {"query": "x", "limit": 3}),
    ]

    async def work(client: Client) -> list[bool]:
        return [(await client.call_tool(tool, arguments)).is_error for tool, arguments in asked]

    assert talk(server, work) == [True] * len(asked)
    with pytest.raises((MCPError, ExceptionGroup)):
        talk(server, lambda client: client.call_tool("delete", {}))


def test_all_stores_are_searched_and_a_passage_counts_once(server: str, client: OpenAI, rivers: str) -> None:
    atlas = client.vector_stores.create(name="atlas")
    client.vector_stores.files.create_and_poll(rivers, vector_store_id=atlas.id)
    lakes = client.files.create(file=("lakes.md", b"# Lakes\n\nLake Arven is 88 metres deep."), purpose="assistants")
    client.vector_stores.files.create_and_poll(lakes.id, vector_store_id=atlas.id)
    results = call(server, "search", query="How deep is Lake Arven?")["results"]
    assert "88 metres" in results[0]["text"]
    assert len({result["text"] for result in results}) == len(results)
    client.vector_stores.delete(atlas.id)


def test_the_same_door_and_no_more_than_a_part_of_a_long_document(tmp_path: Path) -> None:
    memory = Memory(tmp_path, HashedWords())
    text = "\n\n".join(f"Paragraph {n} of the long report speaks of item{n}." for n in range(2000))
    file = memory.add_file("report.txt", text.encode())
    memory.attach("default", file.id)
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["tiny"], ScriptedEngine())
    with live(Parts(core, memory, read(data_dir=tmp_path, api_key="sesame"))) as base_url:
        with pytest.raises(ExceptionGroup) as refused:
            talk(base_url, lambda client: client.list_tools(), key="wrong")
        assert refused.group_contains(MCPError, match="Incorrect API key provided")
        assert memory.wait("default", file.id).status == "completed"
        best = call(base_url, "search", key="sesame", query="item1500")["results"][0]
        document = call(base_url, "fetch", key="sesame", id=best["id"])
        assert "item1500." in best["text"] and best["text"] in document["text"]
        assert len(document["text"]) == FETCHED < len(text)
        assert document["metadata"]["characters"].endswith(f" of {len(text)}")
        assert "<mark>" in httpx.get(best["url"]).text  # signed: a browser has no key


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
TODAY = {"mcp-protocol-version": "2026-07-28"}


@pytest.mark.parametrize("era", [{}, TODAY])
@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "said"),
    [
        ({"content-type": None}, b"{}", 415, -32600, "Content-Type"),
        ({"content-type": "text/plain"}, json.dumps(LIST).encode(), 415, -32600, "Content-Type"),
        ({"content-type": "application/json-patch+json"}, b"{}", 415, -32600, "Content-Type"),
        ({"accept": "text/html"}, json.dumps(LIST).encode(), 406, -32600, "Accept"),
        ({}, b"", 400, -32700, "not JSON"),
        ({}, b"{", 400, -32700, "not JSON"),
        ({}, b"[" * 100_000, 400, -32700, "not JSON"),
        ({}, json.dumps([LIST]).encode(), 400, -32600, "one JSON-RPC message"),
        ({}, json.dumps({"jsonrpc": "2.0", "method": "", "id": {}}).encode(), 400, -32600, "'id'"),
        ({}, json.dumps({"jsonrpc": "2.0", "method": "x", "id": None}).encode(), 400, -32600, "'id'"),
        ({}, json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode(), 400, -32600, "'method'"),
        ({}, json.dumps({"jsonrpc": "1.0", "method": "x"}).encode(), 400, -32600, "'jsonrpc'"),
        ({}, json.dumps(LIST | {"params": [1]}).encode(), 400, -32600, "'params'"),
        (
            {"accept": "application/json"},
            json.dumps(LIST | {"method": "subscriptions/listen"}).encode(),
            406,
            -32600,
            "",
        ),
        ({}, b" " * (2**23 + 1), 413, -32600, "larger than 8 MiB"),
    ],
)
def test_what_is_refused_is_a_json_rpc_error(
    server: str,
    era: dict[str, str],
    headers: dict[str, str | None],
    body: bytes,
    status: int,
    code: int,
    said: str,
) -> None:
    given = {name: value for name, value in {**HEADERS, **era, **headers}.items() if value is not None}
    with httpx.Client() as raw:
        answer = raw.post(f"{server}/mcp", headers=given, content=body)
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert (told["jsonrpc"], told["id"], told["error"]["code"]) == ("2.0", None, code)
    assert said in told["error"]["message"] and set(told["error"]["data"]) == {"type", "param", "code"}


def test_another_method_is_refused_so_too(raw: httpx.Client) -> None:
    answer = raw.get("/mcp")
    assert (answer.status_code, answer.headers["allow"], answer.json()["error"]["code"]) == (405, "POST", -32600)


@pytest.mark.parametrize("era", [{}, TODAY])
def test_a_notification_is_taken_without_a_word(raw: httpx.Client, era: dict[str, str]) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = raw.post("/mcp", headers={**HEADERS, **era}, json=told)
    assert (answer.status_code, answer.content) == (202, b"")
