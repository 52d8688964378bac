"""The OpenAPI description: FastAPI's, with what it cannot know: the shapes of answers, of errors and of streams."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.access import OPEN
from app.api.described import chats, documents, responses
from app.api.described.chats import ErrorBody, Listed
from app.api.errors import MCP

Wire = dict[str, Any]
ABOUT = """OpenAI's words and shapes, and beside them what is named `cogcore`. Unknown fields are refused by name.

Errors are `{"error": {"message", "type", "param", "code"}}`. At `/mcp` they are JSON-RPC's, with the last three in
`data`. Each answer has `x-request-id`, the client's own `X-Client-Request-Id` if it sent one, and
`openai-processing-ms`. Where a key has limits, `x-ratelimit-*` tell them.
"""
FILES, STORES, STORE = "/v1/files", "/v1/vector_stores", "/v1/vector_stores/{store_id}"
BATCH, TALK = f"{STORE}/file_batches/{{batch_id}}", "/v1/conversations/{conversation_id}"
ANSWERS: Mapping[str, type[BaseModel]] = {
    "POST /v1/chat/completions": chats.ChatCompletion,
    "POST /v1/completions": chats.TextCompletion,
    "POST /v1/embeddings": chats.Embeddings,
    "POST /v1/rerank": chats.Reranked,
    "GET /v1/models": chats.ModelList,
    "GET /v1/models/{model}": chats.ModelObject,
    "GET /health": chats.Health,
    "GET /healthz": chats.Health,
    "GET /readyz": chats.Readiness,
    "GET /version": chats.About,
    f"POST {FILES}": documents.FileObject,
    f"GET {FILES}": Listed[documents.FileObject],
    f"GET {FILES}/{{file_id}}": documents.FileObject,
    f"DELETE {FILES}/{{file_id}}": documents.FileDeleted,
    f"POST {STORES}": documents.StoreObject,
    f"GET {STORES}": Listed[documents.StoreObject],
    f"GET {STORE}": documents.StoreObject,
    f"POST {STORE}": documents.StoreObject,
    f"DELETE {STORE}": documents.StoreDeleted,
    f"POST {STORE}/search": documents.SearchResults,
    f"POST {STORE}/files": documents.StoreFileObject,
    f"GET {STORE}/files": Listed[documents.StoreFileObject],
    f"GET {STORE}/files/{{file_id}}": documents.StoreFileObject,
    f"POST {STORE}/files/{{file_id}}": documents.StoreFileObject,
    f"DELETE {STORE}/files/{{file_id}}": documents.StoreFileDeleted,
    f"GET {STORE}/files/{{file_id}}/content": documents.FileContent,
    f"POST {STORE}/file_batches": documents.BatchObject,
    f"GET {BATCH}": documents.BatchObject,
    f"POST {BATCH}/cancel": documents.BatchObject,
    f"GET {BATCH}/files": Listed[documents.StoreFileObject],
    "POST /v1/responses": responses.ResponseObject,
    "GET /v1/responses/{response_id}": responses.ResponseObject,
    "POST /v1/responses/{response_id}/cancel": responses.ResponseObject,
    "DELETE /v1/responses/{response_id}": responses.ResponseDeleted,
    "GET /v1/responses/{response_id}/input_items": Listed[responses.ItemObject],
    "POST /v1/conversations": responses.ConversationObject,
    f"GET {TALK}": responses.ConversationObject,
    f"POST {TALK}": responses.ConversationObject,
    f"DELETE {TALK}": responses.ConversationDeleted,
    f"POST {TALK}/items": Listed[responses.ItemObject],
    f"GET {TALK}/items": Listed[responses.ItemObject],
    f"GET {TALK}/items/{{item_id}}": responses.ItemObject,
    f"DELETE {TALK}/items/{{item_id}}": responses.ConversationObject,
}
EVENTS: Mapping[str, type[BaseModel]] = {
    "POST /v1/chat/completions": chats.ChatChunk,
    "POST /v1/completions": chats.TextCompletion,
    "POST /v1/responses": responses.ResponseEvent,
    "GET /v1/responses/{response_id}": responses.ResponseEvent,
}
MESSAGE: Wire = {
    "type": "object",
    "description": "A request of the Model Context Protocol, or without `id` a notification",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer"]},
        "method": {"type": "string"},
        "params": {"type": ["object", "null"]},
    },
    "required": ["jsonrpc", "method"],
}
RPC_ERROR: Wire = {
    "type": "object",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "integer", "null"]},
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string"},
                "data": {},
            },
            "required": ["code", "message"],
        },
    },
    "required": ["jsonrpc", "id", "error"],
}
ANSWER: Wire = {
    "type": "object",
    "description": "What a request comes to: `result`, or `error`",
    "properties": {**RPC_ERROR["properties"], "result": {"type": "object"}},
    "required": ["jsonrpc", "id"],
}
# Answers that are no JSON of a fixed shape.
OTHERS: Mapping[str, Wire] = {
    f"GET {FILES}/{{file_id}}/content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    },
    "GET /metrics": {"text/plain": {"schema": {"type": "string"}}},
    "GET /v1/passages/{chunk_id}": {"text/html": {"schema": {"type": "string"}}},
    f"POST {MCP}": {"application/json": {"schema": ANSWER}},
}
KEY = "key"
SIGNATURE = "signature"
RETRY: Wire = {
    "Retry-After": {"description": "Seconds after which to ask again", "schema": {"type": "integer", "minimum": 0}}
}
REQUEST_ID: Wire = {"x-request-id": {"schema": {"type": "string"}}}
ERRORS: Mapping[str, Wire] = {
    "Error": {"description": "What is wrong with the request", "headers": REQUEST_ID},
    "Fault": {"description": "What went wrong in the server", "headers": REQUEST_ID},
    "Later": {"description": "Too much at once, or a limit of the key", "headers": REQUEST_ID | RETRY},
    "Unavailable": {"description": "The server is stopping, or cannot answer now", "headers": REQUEST_ID | RETRY},
}


class Described(FastAPI):
    """An application whose description is complete."""

    def openapi(self) -> Wire:
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def operations(description: Wire) -> Iterator[tuple[str, Wire]]:
    """Each as `METHOD /path`, and what is said of it."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _completed(description: Wire) -> Wire:
    description["info"]["description"] = ABOUT
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    references = _shapes(schemas)
    components["securitySchemes"] = {
        KEY: {
            "type": "http",
            "scheme": "bearer",
            "description": "COGCORE_API_KEY, or what `cogcore key create` made. Without both, none is needed.",
        },
        SIGNATURE: {"type": "apiKey", "in": "query", "name": "signature", "description": "Of a citation's link"},
    }
    schemas["RpcError"] = RPC_ERROR
    components["responses"] = {
        prefix + name: {**told, "content": {"application/json": {"schema": {"$ref": shape}}}}
        for prefix, shape in (("", references[ErrorBody]), ("Rpc", "#/components/schemas/RpcError"))
        for name, told in ERRORS.items()
    }
    description["security"] = [{KEY: []}]
    for route, operation in operations(description):
        _complete(route, operation, references)
    return description


def _shapes(schemas: Wire) -> Mapping[object, str]:
    """Put the models among the schemas; by each model, the reference to it."""
    models: set[type[BaseModel]] = {*ANSWERS.values(), *EVENTS.values(), ErrorBody}
    ordered = sorted(models, key=lambda model: model.__name__)
    made, definitions = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    schemas.update(definitions["$defs"])
    return {model: made[model, "serialization"]["$ref"] for model in ordered}


def _complete(route: str, operation: Wire, references: Mapping[object, str]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    content = answers["200"].setdefault("content", {})
    if route in ANSWERS:
        content["application/json"] = {"schema": {"$ref": references[ANSWERS[route]]}}
    if route in EVENTS:
        # Each line `data:` holds one of these; the last one of a chat is [DONE].
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-event": {"$ref": references[EVENTS[route]]}}
    if route in OTHERS:
        answers["200"]["content"] = OTHERS[route]
    errors = f"#/components/responses/{'Rpc' if route == f'POST {MCP}' else ''}"
    answers["5XX"] = {"$ref": f"{errors}Fault"}
    if route.partition(" ")[2] in OPEN:
        operation["security"] = []
        return
    answers["4XX"] = {"$ref": f"{errors}Error"}
    answers["429"] = {"$ref": f"{errors}Later"}
    answers["503"] = {"$ref": f"{errors}Unavailable"}
    if route == f"POST {MCP}":
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": MESSAGE}}}
        answers["202"] = {"description": "A notification was taken"}
    if "/passages/" in route:
        operation["security"] = [{KEY: []}, {SIGNATURE: []}]
