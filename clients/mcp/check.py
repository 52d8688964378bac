"""The Model Context Protocol's own client for Python, in both of the protocol's eras."""

import json

from checks import ASKED, KEY, URL, assert_shows, check, run
from mcp import MCPError
from mcp.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

MCP = URL.replace("/v1", "/mcp")


async def talk(work, mode="auto", key=KEY):
    """What the work of a connected client comes to."""
    async with (
        create_mcp_http_client({"Authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(MCP, http_client=http), mode=mode) as client,
    ):
        return await work(client)


async def search_and_fetch(mode):
    tools = (await talk(lambda client: client.list_tools(), mode)).tools
    assert {tool.name for tool in tools} == {"search", "fetch"}
    found = await talk(lambda client: client.call_tool("search", {"query": ASKED["question"]}), mode)
    best = found.structured_content["results"][0]
    assert json.loads(found.content[0].text) == found.structured_content
    assert best["title"].startswith(ASKED["file"]) and ASKED["answer"] in best["text"]
    assert_shows(best["url"], ASKED["answer"])
    fetched = await talk(lambda client: client.call_tool("fetch", {"id": best["id"]}), mode)
    assert best["text"] in fetched.structured_content["text"]


@check
async def search_and_fetch_today():
    await search_and_fetch("auto")


@check
async def search_and_fetch_in_the_older_era():
    await search_and_fetch("legacy")


@check
async def what_cannot_be_done_is_told_to_the_model():
    refused = await talk(lambda client: client.call_tool("fetch", {"id": "chunk_0"}))
    assert refused.is_error and "chunk_0" in refused.content[0].text


@check
async def errors_are_the_clients_own():
    for work, key, said in (
        (lambda client: client.call_tool("delete", {}), KEY, "no tool 'delete'"),
        (lambda client: client.list_tools(), "wrong", "Incorrect API key provided"),
    ):
        try:
            await talk(work, key=key)
        except* MCPError as group:
            (error,) = leaves(group)
            assert said in str(error), error
        else:
            raise AssertionError("nothing was raised")


def leaves(error):
    """What a task group's error holds."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in leaves(one)]


run()
