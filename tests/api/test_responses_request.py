"""Every field of a request for a response is honoured, without effect, or refused by its name with a remedy."""

from typing import Any, get_type_hints

import httpx
import pytest
from openai.types.responses import response_create_params

from app.api.responses.request import ResponseRequest

ASK: dict[str, Any] = {"model": "cogcore", "input": "Hello", "max_output_tokens": 8}
USER = {"role": "user", "content": "Hello"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "1"}
SEARCH = {"type": "file_search"}
FUNCTION = {"type": "function", "name": "f"}


def refusal(raw: httpx.Client, status: int = 400, **fields: Any) -> dict[str, Any]:
    answer = raw.post("/v1/responses", json={**ASK, **fields})
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_every_field_of_openais_is_known() -> None:
    theirs = set(get_type_hints(response_create_params.ResponseCreateParamsStreaming))
    assert theirs - set(ResponseRequest.model_fields) == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("background", "yes"),
        ("conversation", 3),
        ("prompt", {"id": "x"}),
        ("context_management", [{"type": "compaction"}]),
        ("moderation", {"model": "x"}),
        ("image", {}),
        ("access_programs", {}),
        ("truncation", "auto"),
        ("include", ["everything"]),
        ("max_output_tokens", 0),
        ("max_tool_calls", -1),
        ("top_logprobs", 3),  # without include
        ("tool_choice", "always"),
        ("tool_choice", {"type": "web_search"}),
        ("tool_choice", {"type": "file_search"}),  # and nothing to search
        ("tool_choice", {"type": "function", "name": "g"}),
        ("metadata", {"a": 1}),
        ("metadata", {str(n): "" for n in range(17)}),
        ("metadata", {"a": "b" * 513}),
        ("service_tier", "flex"),
        ("reasoning", "much"),
        ("input", []),
        ("input", 5),
        ("input", [{"role": "system", "content": "Be kind."}]),
        ("input", [USER, {"role": "assistant", "content": "Hi"}]),
        ("unheard_of", 1),
    ],
)
def test_refused_by_name(raw: httpx.Client, field: str, value: Any) -> None:
    error = refusal(raw, **{field: value})
    assert (error["param"] or "").startswith(field)
    assert field in error["message"] or error["message"].startswith(("The last item", "A message"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [{**USER, "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": " "}]}, "input[0].content"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0]"),
        ({"input": ["Hello"]}, "input[0]"),
        ({"input": [{"type": [1]}]}, "input[0]"),
        ({"tools": [5]}, "tools[0]"),
        ({"input": [USER, CALL]}, "input[1]"),
        ({"input": [USER, CALL, USER]}, "input[1]"),
        ({"input": [USER, OUTPUT]}, "input[1].call_id"),
        ({"input": [{**USER, "name": "Ada"}]}, "input[0].name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{**FUNCTION, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tools": [{**FUNCTION, "name": "search_memory"}]}, "tools[0].name"),
        ({"tools": [SEARCH, SEARCH]}, "tools[1]"),
        ({"tools": [{**SEARCH, "max_num_results": 51}]}, "tools[0].max_num_results"),
        ({"tools": [{**SEARCH, "filters": {"type": "like"}}]}, "tools[0].filters.type"),
        (
            {"tools": [{**SEARCH, "ranking_options": {"score_threshold": 2.0}}]},
            "tools[0].ranking_options.score_threshold",
        ),
        ({"tools": [{**SEARCH, "ranking_options": {"ranker": "best"}}]}, "tools[0].ranking_options.ranker"),
        ({"tools": [SEARCH], "cogcore": {"stores": ["default"]}}, "tools[0]"),
        ({"cogcore": {"filters": {"type": "like"}}}, "cogcore.filters.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"text": {"format": {"type": "text", "name": "x"}}}, "text.format"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        ({"input": [USER, {"type": "item_reference", "id": "msg_0"}, USER]}, "input[1].id"),
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
    ],
)
def test_refused_where_it_stands(raw: httpx.Client, fields: dict[str, Any], param: str) -> None:
    error = refusal(raw, **fields)
    assert error["param"] == param, error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "gpt-4"}, "model"),
        ({"tools": [{**SEARCH, "vector_store_ids": ["default", "vs_0"]}]}, "tools[0].vector_store_ids[1]"),
        ({"cogcore": {"stores": ["vs_0"]}}, "cogcore.stores[0]"),
    ],
)
def test_what_does_not_exist(raw: httpx.Client, fields: dict[str, Any], param: str) -> None:
    assert refusal(raw, 404, **fields)["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto", "effort": None}},
        {"store": False, "truncation": "disabled", "background": False, "service_tier": "auto"},
        {"text": {"format": {"type": "text"}}, "metadata": {}, "tools": [], "tool_choice": "auto"},
        {"stream_options": {"include_obfuscation": False}, "prompt_cache_retention": "24h"},
        {"input": [{"role": "developer", "content": "Be kind."}, {**USER, "type": "message", "status": "completed"}]},
        {
            "input": [
                {**USER, "content": [{"type": "input_text", "text": "Hello"}, {"type": "input_text", "text": "you"}]}
            ]
        },
        {"input": [USER, CALL, {**CALL, "call_id": "c2"}, OUTPUT, {**OUTPUT, "call_id": "c2"}]},
        {"input": [USER, {"type": "reasoning", "summary": [], "id": "rs_1", "encrypted_content": None}, USER]},
        {"tool_choice": {"type": "function", "name": "calculate"}},
    ],
)
def test_taken(raw: httpx.Client, fields: dict[str, Any]) -> None:
    answer = raw.post("/v1/responses", json={**ASK, **fields})
    assert answer.status_code == 200, answer.text
