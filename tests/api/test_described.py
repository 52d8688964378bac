"""The OpenAPI description: complete, and true of real answers."""

import json
from typing import Any, cast
from unittest.mock import MagicMock

import httpx
import pytest
from jsonschema import Draft202012Validator

from app.api import Parts, create_app
from app.api.access import OPEN
from app.api.described.application import ANSWERS, EVENTS, OTHERS, operations
from app.settings import read
from tests.api.test_responses import FILE_SEARCH, QUESTION

Wire = dict[str, Any]


@pytest.fixture(scope="module")
def description() -> Wire:
    parts = MagicMock()
    parts.settings = read()
    return create_app(cast(Parts, parts)).openapi()


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for one in value for found in references(one)]
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in references(one)]
    return []


def test_it_stands_alone(description: Wire) -> None:
    assert description["info"]["description"]
    for reference in references(description):
        found: Any = description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert "HTTPValidationError" not in json.dumps(description)
    for name, schema in description["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema, name


def test_every_route_says_what_it_answers(description: Wire) -> None:
    routes = dict(operations(description))
    assert {*ANSWERS, *EVENTS, *OTHERS} <= set(routes)
    for route, operation in routes.items():
        assert "422" not in operation["responses"], route
        for kind, content in operation["responses"]["200"]["content"].items():
            assert content["schema"] not in ({}, None), (route, kind)
            vague = content["schema"].get("type") == "object" and "properties" not in content["schema"]
            assert not vague, route
        errors = {status for status in operation["responses"] if status not in ("200", "202")}
        if route.partition(" ")[2] in OPEN:
            assert operation["security"] == []
        else:
            assert errors == {"4XX", "5XX", "429", "503"}, route


class TestIsTrue:
    """Real answers have the shapes that are described."""

    @pytest.fixture
    def check(self, description: Wire) -> Any:
        def valid(schema: Wire, value: Any) -> None:
            whole = {**schema, "components": description["components"]}
            errors = [error.message for error in Draft202012Validator(whole).iter_errors(value)]
            assert not errors, errors

        def answered(route: str, answer: httpx.Response, status: int = 200) -> Any:
            assert answer.status_code == status, answer.text
            operation = dict(operations(description))[route]
            if status >= 400:
                told = operation["responses"]["4XX"]["$ref"].rpartition("/")[2]
                valid(
                    description["components"]["responses"][told]["content"]["application/json"]["schema"], answer.json()
                )
                return answer.json()
            kind = answer.headers["content-type"].partition(";")[0]
            content = operation["responses"]["200"]["content"][kind]
            if kind == "text/event-stream":
                lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
                for line in lines:
                    if line != "[DONE]":
                        valid(content["x-event"], json.loads(line))
                return lines
            if kind == "application/json":
                valid(content["schema"], answer.json())
                return answer.json()
            return answer.text

        return answered

    @pytest.mark.parametrize("stream", [False, True])
    def test_of_turns(self, raw: httpx.Client, rivers: str, check: Any, stream: bool) -> None:
        ask: Wire = {"model": "cogcore", "stream": stream, "cogcore": {"abstain_below": 0.0}}
        messages = [{"role": "user", "content": QUESTION}]
        for fields in ({"tool_choice": "required"}, {"n": 2, "logprobs": True, "top_logprobs": 2}):
            check(
                "POST /v1/chat/completions",
                raw.post("/v1/chat/completions", json=ask | fields | {"messages": messages}),
            )
        given: Wire = {"tools": [FILE_SEARCH], "tool_choice": {"type": "file_search"}, "input": QUESTION}
        included = {"include": ["file_search_call.results", "message.output_text.logprobs"]}
        check("POST /v1/responses", raw.post("/v1/responses", json=ask | given | included))
        told = raw.post("/v1/completions", json={"model": "cogcore", "prompt": "The", "logprobs": 1, "stream": stream})
        check("POST /v1/completions", told)

    def test_of_what_is_kept(self, raw: httpx.Client, rivers: str, check: Any) -> None:
        talk = check("POST /v1/conversations", raw.post("/v1/conversations", json={"metadata": {"a": "b"}}))["id"]
        asked = {"model": "cogcore", "input": "Hello there", "conversation": talk, "max_output_tokens": 8}
        made = check("POST /v1/responses", raw.post("/v1/responses", json=asked))["id"]
        at = f"/v1/responses/{made}"
        check("GET /v1/responses/{response_id}", raw.get(at))
        check("GET /v1/responses/{response_id}/input_items", raw.get(f"{at}/input_items"))
        check("POST /v1/responses/{response_id}/cancel", raw.post(f"{at}/cancel"), 400)
        check("DELETE /v1/responses/{response_id}", raw.delete(at))
        one, at = "/v1/conversations/{conversation_id}", f"/v1/conversations/{talk}"
        check(f"GET {one}", raw.get(at))
        added = check(f"POST {one}/items", raw.post(f"{at}/items", json={"items": [{"role": "user", "content": "?"}]}))
        check(f"GET {one}/items", raw.get(f"{at}/items"))
        check(f"GET {one}/items/{{item_id}}", raw.get(f"{at}/items/{added['first_id']}"))
        check(f"DELETE {one}/items/{{item_id}}", raw.delete(f"{at}/items/{added['first_id']}"))
        check(f"DELETE {one}", raw.delete(at))

    def test_of_documents(self, raw: httpx.Client, rivers: str, check: Any) -> None:
        check("GET /v1/files", raw.get("/v1/files"))
        file = check(
            "POST /v1/files", raw.post("/v1/files", data={"purpose": "assistants"}, files={"file": ("a.md", b"Tarn")})
        )
        check("GET /v1/files/{file_id}/content", raw.get(f"/v1/files/{rivers}/content"))
        days = {"anchor": "last_active_at", "days": 3}
        store = check(
            "POST /v1/vector_stores", raw.post("/v1/vector_stores", json={"name": "s", "expires_after": days})
        )
        one, at = "/v1/vector_stores/{store_id}", f"/v1/vector_stores/{store['id']}"
        batch = check(f"POST {one}/file_batches", raw.post(f"{at}/file_batches", json={"file_ids": [file["id"]]}))
        check(f"GET {one}/file_batches/{{batch_id}}", raw.get(f"{at}/file_batches/{batch['id']}"))
        check(f"GET {one}/files", raw.get(f"{at}/files"))
        check(f"POST {one}/search", raw.post("/v1/vector_stores/default/search", json={"query": QUESTION}))
        content = raw.get(f"/v1/vector_stores/default/files/{rivers}/content")
        check(f"GET {one}/files/{{file_id}}/content", content)
        check("GET /v1/vector_stores", raw.get("/v1/vector_stores"))
        check(f"DELETE {one}/files/{{file_id}}", raw.delete(f"{at}/files/{file['id']}"))
        check(f"DELETE {one}", raw.delete(at))
        check("DELETE /v1/files/{file_id}", raw.delete(f"/v1/files/{file['id']}"))

    def test_of_the_rest(self, raw: httpx.Client, rivers: str, check: Any) -> None:
        for path in ("/v1/models", "/health", "/healthz", "/readyz", "/version", "/metrics"):
            check(f"GET {path}", raw.get(path))
        embedder = next(m["id"] for m in raw.get("/v1/models").json()["data"] if not m["id"].startswith("cogcore"))
        for encoding in ("float", "base64"):
            ask = {"model": embedder, "input": ["a", "b"], "encoding_format": encoding}
            check("POST /v1/embeddings", raw.post("/v1/embeddings", json=ask))
        ask = {"model": "cogcore-reader", "query": "?", "documents": ["a", {"text": "b"}], "return_documents": True}
        check("POST /v1/rerank", raw.post("/v1/rerank", json=ask))
        check("GET /v1/models/{model}", raw.get("/v1/models/nothing"), 404)
        check("POST /v1/embeddings", raw.post("/v1/embeddings", json={}), 400)
