"""POST /mcp: the Model Context Protocol, stateless over HTTP, with the two tools that OpenAI's connectors expect.

`search` looks a question up in all stores; `fetch` returns the document that a result stands in. Both answer with one
object, as text and structured. Whoever may call the API may call them: the door is the same.

Whatever is refused here, by the door too, is a JSON-RPC error, which the protocol's clients show. The `mcp` package
refuses some requests in plain text or takes them for others, so what it is handed was checked before.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from mcp import MCPError
from mcp import types as wire
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope, Send

from app.api.caller import Caller
from app.api.door import JSON_LIMIT
from app.api.errors import MCP, UNPARSED, ApiError
from app.api.health import VERSION
from app.api.json_limits import check_json
from app.api.limits import Strict
from app.api.listing import everything
from app.api.parts import Parts
from app.api.passages import link
from app.api.traces import Traces
from index.errors import MemoryFault, NotFound
from index.memory import Memory
from index.types import Chunk, Hit, Sight

RESULTS = 10
FETCHED = 50_000  # characters: a handbook would fill a model's context, and more than one call

Asked = TypeVar("Asked", bound=BaseModel)
Context = ServerRequestContext[dict[str, Any], Any]


class Search(Strict):
    query: str


class Fetch(Strict):
    id: str


class Result(BaseModel):
    id: str
    title: str
    url: str
    text: str


class Results(BaseModel):
    results: list[Result]


class Document(Result):
    metadata: dict[str, str]


SEARCH = wire.Tool(
    name="search",
    title="Search the documents",
    description="Search all of the user's documents. Returns the best passages; `fetch` shows one in its document.",
    input_schema=Search.model_json_schema(),
    output_schema=Results.model_json_schema(),
    annotations=wire.ToolAnnotations(read_only_hint=True, open_world_hint=False),
)
FETCH = wire.Tool(
    name="fetch",
    title="Read a document",
    description=(
        "The document that a search result stands in, by the result's id. "
        f"Of a document over {FETCHED} characters, those around the result; `metadata` says which."
    ),
    input_schema=Fetch.model_json_schema(),
    output_schema=Document.model_json_schema(),
    annotations=wire.ToolAnnotations(read_only_hint=True, open_world_hint=False),
)


class Tools:
    """Search and fetch over one memory. `base_url` is where the links of a result lead."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._memory = parts, parts.memory
        self._public_url = parts.settings.public_url

    async def list(self, _: Context, __: wire.PaginatedRequestParams | None) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=[SEARCH, FETCH])

    async def call(self, context: Context, asked: wire.CallToolRequestParams) -> wire.CallToolResult:
        """What a tool says; what it cannot do is said to the model that called it."""
        request: Any = context.request  # there is one: the transport is HTTP
        try:
            match asked.name:
                case "search":
                    return await self._told(self._search, Search, asked, request)
                case "fetch":
                    return await self._told(self._fetch, Fetch, asked, request)
                case other:
                    raise MCPError(wire.INVALID_PARAMS, f"There is no tool '{other}', only search and fetch.")
        except ValidationError as error:
            first = error.errors()[0]
            return _refused(f"{'.'.join(map(str, first['loc'])) or 'arguments'}: {first['msg']}.")
        except MemoryFault as error:
            return _refused(f"{error}.")

    async def _told(
        self,
        tool: Callable[[Asked, str, Caller], BaseModel],
        kind: type[Asked],
        asked: wire.CallToolRequestParams,
        request: Any,
    ) -> wire.CallToolResult:
        base_url = self._public_url or str(request.base_url).rstrip("/")
        wanted, traces = kind.model_validate(asked.arguments or {}), self._parts.traces
        told = traces.of_tool(asked.name, "datastore", wanted.model_dump_json())
        with traces.span(f"execute_tool {asked.name}", told, request.headers):
            made = (await to_thread.run_sync(tool, wanted, base_url, request.scope["caller"])).model_dump()
        text = wire.TextContent(type="text", text=json.dumps(made, ensure_ascii=False))
        return wire.CallToolResult(content=[text], structured_content=made)

    def _search(self, asked: Search, base_url: str, caller: Caller) -> Results:
        found = best(self._memory, asked.query, caller.sight, self._parts.traces)
        return Results(results=[self._result(hit.chunk, base_url) for hit in found])

    def _fetch(self, asked: Fetch, base_url: str, caller: Caller) -> Document:
        chunk = self._memory.chunk(asked.id, caller.sight)
        text = self._memory.text_around(chunk)
        begin = max(0, min(chunk.start - FETCHED // 2, len(text) - FETCHED))
        end = min(begin + FETCHED, len(text))
        metadata = {"file_id": chunk.file_id, "characters": f"{begin} to {end} of {len(text)}"}
        metadata["passage"] = f"characters {chunk.start} to {chunk.end}"
        about = self._result(chunk, base_url).model_dump()
        return Document(**{**about, "text": text[begin:end]}, metadata=metadata)

    def _result(self, chunk: Chunk, base_url: str) -> Result:
        url = link(base_url, self._parts.link_key, chunk.id, chunk.start, chunk.end)
        return Result(id=chunk.id, title=" › ".join((chunk.filename, *chunk.headings)), url=url, text=chunk.text)


def best(memory: Memory, query: str, sight: Sight | None, traces: Traces) -> list[Hit]:
    """The best passages of all stores that are seen; one that stands in several counts once."""
    found: dict[tuple[str, int], Hit] = {}
    for store in everything(memory, sight):
        if store.counts["completed"]:
            try:
                hits = traces.searched(query, partial(memory.search, store.id, query, RESULTS))
            except NotFound:  # deleted just now
                continue
            for hit in hits:
                place = hit.chunk.file_id, hit.chunk.start
                found[place] = max(found.get(place, hit), hit, key=lambda one: one.score)
    return sorted(found.values(), key=lambda hit: -hit.score)[:RESULTS]


def _refused(said: str) -> wire.CallToolResult:
    return wire.CallToolResult(content=[wire.TextContent(type="text", text=said)], is_error=True)


def sessions(parts: Parts) -> StreamableHTTPSessionManager:
    """What answers at /mcp while its `run` is open. Names and origins are the door's to check."""
    tools = Tools(parts)
    server = Server("cogcore", version=VERSION, on_list_tools=tools.list, on_call_tool=tools.call)
    return StreamableHTTPSessionManager(
        server,
        json_response=True,
        stateless=True,
        max_request_body_size=JSON_LIMIT,  # the door's: it refuses first
    )


async def taken(request: Request) -> bytes:
    """The request's one JSON-RPC message, a request or a notification, as it came. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        said = "Send the message as JSON, with the header Content-Type: application/json."
        raise ApiError(said, param="Content-Type", code="unsupported_media_type", status=415)
    json_taken, stream_taken = check_accept_headers(request)
    if not json_taken:
        said = "Answers are JSON. Send the header Accept: application/json, text/event-stream."
        raise ApiError(said, param="Accept", code="not_acceptable", status=406)
    body = await request.body()
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"The body is not JSON: {error}.", code=UNPARSED) from None
    if not isinstance(message, dict):
        raise ApiError("The body must be one JSON-RPC message, an object.")
    try:
        check_json(message)
    except ValueError as error:
        raise ApiError(str(error)) from None
    try:
        # With an id it is a request, however wrong the id: then an answer is waited for.
        (wire.JSONRPCRequest if "id" in message else wire.JSONRPCNotification).model_validate(message)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise ApiError(f"Invalid '{field}': {error.errors()[0]['msg']}.", param=field) from None
    if message["method"] == "subscriptions/listen" and not stream_taken:
        raise ApiError("What is listened to comes as text/event-stream. Accept it.", param="Accept", status=406)
    return body


class Handed(Response):
    """The answer is the protocol's own."""

    def __init__(self, manager: StreamableHTTPSessionManager, body: bytes) -> None:
        super().__init__()
        self._manager, self._read = manager, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        again: list[Message] = [{"type": "http.request", "body": self._read, "more_body": False}]

        async def replayed() -> Message:
            return again.pop() if again else await receive()

        await self._manager.handle_request(scope, replayed, send)


def routes(manager: StreamableHTTPSessionManager) -> APIRouter:
    router = APIRouter(tags=["mcp"])

    @router.post(MCP, response_class=Response)
    async def exchange(request: Request) -> Response:
        """One JSON-RPC message of the Model Context Protocol. No session is kept."""
        return Handed(manager, await taken(request))

    return router
