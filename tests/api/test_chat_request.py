"""Every field of a chat request is honoured, without effect, or refused by its name with a remedy."""

from typing import Any, get_type_hints

import httpx
import pytest
from openai.types.chat import completion_create_params

from app.api.chat_request import ChatRequest

ASK: dict[str, Any] = {"model": "cogcore", "messages": [{"role": "user", "content": "Hello"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def refusal(raw: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = raw.post("/v1/chat/completions", json={**ASK, **fields})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_every_field_of_openais_is_known() -> None:
    theirs = set(get_type_hints(completion_create_params.CompletionCreateParamsStreaming))
    assert theirs - set(ChatRequest.model_fields) == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 9),
        ("n", True),
        ("logprobs", 3),
        ("top_logprobs", 3),  # without logprobs
        ("top_logprobs", 21),
        ("parallel_tool_calls", "no"),
        ("response_format", "json"),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_object"}),  # of this core
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x", "format": "wav"}),
        ("functions", []),
        ("function_call", "auto"),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
        ("verbosity", "low"),
        ("moderation", {"model": "x"}),
        ("temperature", 2.1),
        ("temperature", "1"),
        ("top_p", 0),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("stop", ["a"] * 5),
        ("stop", ""),
        ("stop", 1),
        ("frequency_penalty", 3),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"1" * 5000: 1}),
        ("logit_bias", [1]),
        ("seed", 2**70),
        ("stream", "yes"),
        ("tools", "all"),
        ("tool_choice", "always"),
        ("tool_choice", {"type": "function"}),
        ("service_tier", "flex"),
        ("max_searchs", 3),
    ],
)
def test_refused_by_name(raw: httpx.Client, field: str, value: Any) -> None:
    error = refusal(raw, **{field: value})
    assert error["param"] == field
    assert field in error["message"]


@pytest.mark.parametrize(
    ("extension", "param"),
    [
        ({"max_searches": 9}, "cogcore.max_searches"),
        ({"max_searches": "1"}, "cogcore.max_searches"),
        ({"need_threshold": -0.1}, "cogcore.need_threshold"),
        ({"abstain_below": 2}, "cogcore.abstain_below"),
        ({"stores": []}, "cogcore.stores"),
        ({"stores": "default"}, "cogcore.stores"),
        ({"filters": {"type": "like", "key": "a", "value": 1}}, "cogcore.filters.type"),
        ({"colour": 1}, "cogcore.colour"),
        (5, "cogcore"),
    ],
)
def test_the_extension_is_strict(raw: httpx.Client, extension: Any, param: str) -> None:
    assert refusal(raw, cogcore=extension)["param"] == param


def test_unknown_store_in_the_extension(raw: httpx.Client) -> None:
    answer = raw.post("/v1/chat/completions", json={**ASK, "cogcore": {"stores": ["default", "nowhere"]}})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "cogcore.stores[1]"


@pytest.mark.parametrize(
    ("messages", "param", "said"),
    [
        ([], "messages", "at least 1"),
        ("Hello", "messages", "list"),
        ([{"role": "user", "content": ""}], "messages[0].content", "is empty"),
        ([{"role": "user", "content": " \n"}], "messages[0].content", "is empty"),
        ([{"role": "user"}], "messages[0].content", "needs its 'content'"),
        ([{"role": "user", "content": 5}], "messages[0].content", "string"),
        ([{"role": "king", "content": "x"}], "messages[0].role", "'user'"),
        ([{"role": "system", "content": "x"}], "messages", "'user' is needed"),
        ([{"role": "user", "content": "x", "colour": 1}], "messages[0].colour", "Unknown"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content",
            "'image_url' cannot be read",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content", "needs its text"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "messages",
            "last message must have the role 'user' or 'tool'",
        ),
        (
            [{"role": "user", "content": "x"}, {"role": "tool", "content": "y", "tool_call_id": "c1"}],
            "messages[1].tool_call_id",
            "answers no call",
        ),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "user", "content": "y"},
            ],
            "messages[1].tool_calls",
            "'c1' of messages[1] has no answer",
        ),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages[0].tool_calls", "only an assistant"),
    ],
)
def test_bad_messages(raw: httpx.Client, messages: Any, param: str, said: str) -> None:
    error = refusal(raw, messages=messages)
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "search_memory"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ],
)
def test_fields_that_do_not_fit_together(raw: httpx.Client, fields: dict[str, Any], param: str) -> None:
    assert param in (refusal(raw, **fields)["param"] or "")


def test_missing_fields(raw: httpx.Client) -> None:
    answer = raw.post("/v1/chat/completions", json={"messages": ASK["messages"]})
    assert answer.json()["error"] == {
        "message": "Missing required parameter: 'model'.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "missing_required_parameter",
    }
