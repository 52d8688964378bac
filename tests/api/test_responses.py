"""Responses by OpenAI's client over the real core, memory and reader; and over a core that is told what to write."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.api.live import scripted
from tests.api.test_chat_stream import UNSURE, Slow, call, ids
from tests.fakes import ScriptedEngine

OPENAIS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
QUESTION = "How long is the Sorne?"
NEVER_ABSTAIN = {"cogcore": {"abstain_below": 0.0}}
FILE_SEARCH: dict[str, Any] = {"type": "file_search", "vector_store_ids": ["default"]}
# Decides nothing by itself, so that the test holds for any core.
SEARCH: dict[str, Any] = {
    "model": "cogcore",
    "input": QUESTION,
    "tools": [FILE_SEARCH],
    "tool_choice": {"type": "file_search"},
    "extra_body": NEVER_ABSTAIN,
}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
# What Open Responses requires, beside what may be null.
NEVER_NULL: dict[str, Any] = {
    "truncation": "disabled",
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "service_tier": "default",
    "tool_choice": "auto",
    "tools": [],
    "parallel_tool_calls": True,
    "background": False,
    "metadata": {},
    "text": {"format": {"type": "text"}},
}
MAY_BE_NULL = (
    *("completed_at", "incomplete_details", "previous_response_id", "instructions", "error", "reasoning", "usage"),
    *("max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key", "user"),
)


def post(raw: httpx.Client, **fields: Any) -> httpx.Response:
    return raw.post("/v1/responses", json={"model": "cogcore", "input": "Hello there", **fields})


@contextmanager
def told(engine: ScriptedEngine, folder: Path, **settings: Any) -> Iterator[OpenAI]:
    """A client of a server whose core writes what the engine is told."""
    with (
        scripted(engine, folder, "hermes", **settings) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def items(response: Response, kind: str) -> list[Any]:
    return [item for item in response.output if item.type == kind]


@pytest.mark.usefixtures("rivers")
class TestSearch:
    def test_a_searched_response_is_cited_both_ways(self, client: OpenAI, raw: httpx.Client, rivers: str) -> None:
        response = client.responses.create(**SEARCH, include=["file_search_call.results"])
        assert (response.status, response.object, response.error) == ("completed", "response", None)
        (search,) = items(response, "file_search_call")
        assert search.queries and {result.file_id for result in search.results} == {rivers}
        (message,) = items(response, "message")
        (part,) = message.content
        told = (response.model_extra or {})["cogcore"]
        (cited,) = told["citations"]
        assert told["answer"] in cited["quote"]
        assert part.text == response.output_text
        by_file, by_url = part.annotations
        assert (by_file.type, by_file.file_id, by_file.filename) == ("file_citation", rivers, "rivers.md")
        assert (by_url.type, by_url.title) == ("url_citation", "rivers.md")
        assert (by_url.start_index, by_url.end_index) == (cited["reply_start"], cited["reply_end"])
        assert "<mark>" in raw.get(by_url.url).text
        assert response.usage is not None
        assert response.usage.input_tokens == sum(r["prompt"] for r in told["rounds"])
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens

    def test_streamed_says_the_same(self, client: OpenAI) -> None:
        whole = client.responses.create(**SEARCH)
        with client.responses.stream(**SEARCH) as stream:
            names = [event.type for event in stream]
            final = stream.get_final_response()
        assert final.output_text == whole.output_text
        assert [item.type for item in final.output] == [item.type for item in whole.output]
        assert names[:2] == ["response.created", "response.in_progress"]
        assert names[-1] == "response.completed"
        assert names.index("response.file_search_call.completed") < names.index("response.output_text.delta")

    def test_frames(self, raw: httpx.Client) -> None:
        body = {**SEARCH, "stream": True, **NEVER_ABSTAIN}
        del body["extra_body"]
        with raw.stream("POST", "/v1/responses", json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            blocks = answer.read().decode().rstrip("\n").split("\n\n")
        assert blocks.pop() == "data: [DONE]"
        for number, block in enumerate(blocks):
            name, data = block.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            assert event["sequence_number"] == number
            OPENAIS.validate_python(event)

    def test_results_are_told_where_they_are_asked_for(self, client: OpenAI) -> None:
        (search,) = items(client.responses.create(**SEARCH), "file_search_call")
        assert search.results is None

    def test_logprobs(self, client: OpenAI) -> None:
        response = client.responses.create(**SEARCH, include=["message.output_text.logprobs"], top_logprobs=2)
        (part,) = items(response, "message")[0].content
        words = "".join(entry.token for entry in part.logprobs).strip()
        assert words and part.text.startswith(words)
        assert {len(entry.top_logprobs) for entry in part.logprobs} == {2}
        with client.responses.stream(**SEARCH, include=["message.output_text.logprobs"], top_logprobs=2) as stream:
            pieces = [
                one.token for event in stream if event.type == "response.output_text.delta" for one in event.logprobs
            ]
        assert pieces == [entry.token for entry in part.logprobs]

    def test_ranking_and_filters_reach_the_search(self, client: OpenAI) -> None:
        def found(**options: Any) -> list[Any]:
            tools = [{**FILE_SEARCH, **options}]
            asked = {**SEARCH, "tools": tools, "include": ["file_search_call.results"]}
            (search,) = items(client.responses.create(**asked), "file_search_call")
            return list(search.results)

        assert len(found(max_num_results=1)) == 1
        assert found(filters={"type": "eq", "key": "filename", "value": "other.md"}) == []
        assert found(ranking_options={"score_threshold": 1.0}) == []
        read, unread = found(max_num_results=1), found(max_num_results=1, ranking_options={"ranker": "none"})
        assert read[0].score != unread[0].score

    def test_what_attaches_a_store(self, client: OpenAI) -> None:
        def searched(**fields: Any) -> int:
            extra = {"cogcore": {"need_threshold": 0.0, **fields.pop("cogcore", {})}}
            response = client.responses.create(**{"model": "cogcore", "input": QUESTION, **fields}, extra_body=extra)
            return len(items(response, "file_search_call"))

        assert searched() == 0
        assert searched(tools=[FILE_SEARCH]) == 1
        assert searched(tools=[{"type": "file_search"}]) == 1
        assert searched(model="cogcore/default") == 1
        assert searched(cogcore={"stores": ["default"]}) == 1
        assert searched(tools=[FILE_SEARCH], tool_choice="none") == 0
        assert searched(tools=[FILE_SEARCH], max_tool_calls=0) == 0

    def test_abstaining_is_told(self, client: OpenAI) -> None:
        response = client.responses.create(**{**SEARCH, "extra_body": {"cogcore": {"abstain_below": 1.0}}})
        assert (response.model_extra or {})["cogcore"]["status"] == "abstained"
        assert "do not know" in response.output_text
        assert items(response, "message")[0].content[0].annotations == []

    def test_a_conversation_with_what_we_said(self, client: OpenAI) -> None:
        first = client.responses.create(**SEARCH, include=["file_search_call.results"])
        echoed: Any = [item.model_dump() for item in first.output]
        again = client.responses.create(
            **{
                **SEARCH,
                "input": [{"role": "user", "content": QUESTION}, *echoed, {"role": "user", "content": QUESTION}],
            }
        )
        assert again.output_text == first.output_text


def test_without_memory_it_has_all_that_open_responses_requires(client: OpenAI, raw: httpx.Client) -> None:
    body = post(raw, cogcore={"need_threshold": 1.0}).json()
    assert {key: body[key] for key in NEVER_NULL} == NEVER_NULL
    assert set(MAY_BE_NULL) <= set(body)
    assert {type(body["temperature"]), type(body["top_p"])} <= {int, float}
    assert type(body["created_at"]) is type(body["completed_at"]) is int
    assert body["id"].startswith("resp_")
    Response.model_validate(body)
    assert {item["type"] for item in body["output"]} <= {"reasoning", "message"}


def test_what_the_response_repeats(raw: httpx.Client) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be kind.",
        "metadata": {"a": "b"},
        "max_output_tokens": 20,
        "max_tool_calls": 1,
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "user": "u",
        "tool_choice": "none",
        "model": "cogcore/default",
    }
    body = post(raw, **asked).json()
    assert {key: body[key] for key in asked} == asked
    (tool,) = post(raw, tools=[{"type": "file_search"}]).json()["tools"]
    assert tool["vector_store_ids"] == [raw.get("/v1/vector_stores/default").json()["id"]]
    assert (tool["max_num_results"], tool["filters"]) == (5, None)


def test_limits(client: OpenAI) -> None:
    talk: dict[str, Any] = {
        "model": "cogcore",
        "input": "Hello there",
        "extra_body": {"cogcore": {"need_threshold": 1}},
    }
    cut = client.responses.create(**talk, max_output_tokens=3)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None and cut.incomplete_details.reason == "max_output_tokens"
    assert cut.usage is not None and cut.usage.output_tokens == 3
    with client.responses.stream(**talk, max_output_tokens=3) as stream:
        assert [event.type for event in stream][-1] == "response.incomplete"


def test_calls_of_the_client(tmp_path: Path) -> None:
    written = ids("Sure.\n", call("calculate", expression="2^10"), call("weather", city="Köln"))
    engine = ScriptedEngine([written, written, ids("It rains.")], [UNSURE] * 3)
    with told(engine, tmp_path) as client:
        asked: dict[str, Any] = {"model": "cogcore", "input": QUESTION, "tools": [WEATHER]}
        whole: Response = client.responses.create(**asked)
        with client.responses.stream(**asked) as stream:
            final = next(event.response for event in stream if event.type == "response.completed")
        for response in (whole, final):
            message, called = response.output
            assert (message.type, response.output_text) == ("message", "Sure.")
            assert called.type == "function_call"
            assert (called.name, called.status) == ("weather", "completed")
            assert json.loads(called.arguments) == {"city": "Köln"}
        assert whole.tools[0].model_dump()["name"] == "weather"
        echoed: list[Any] = [item.model_dump() for item in whole.output]
        output = {"type": "function_call_output", "call_id": echoed[1]["call_id"], "output": "Rain."}
        asked["input"] = [{"role": "user", "content": QUESTION}, *echoed, output]
        answer = client.responses.create(**asked)
        assert answer.output_text == "It rains."


def test_a_schema_is_kept(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"km": {"type": "integer"}},
        "required": ["km"],
        "additionalProperties": False,
    }
    with told(ScriptedEngine([ids('{"km": 312}')], [UNSURE]), tmp_path) as client:
        text: Any = {"format": {"type": "json_schema", "name": "length", "schema": schema, "strict": True}}
        response = client.responses.create(model="cogcore", input=QUESTION, text=text)
        assert json.loads(response.output_text) == {"km": 312}
        assert response.text is not None and response.text.format is not None
        told_again = {**text["format"], "description": None}
        assert response.text.format.model_dump(by_alias=True) == told_again


@pytest.mark.parametrize("keep_alive", [10, 0.05])
def test_a_refusal_has_its_status_until_the_first_silence(tmp_path: Path, keep_alive: float) -> None:
    engine = Slow([], [UNSURE])
    engine.refuses = True
    with told(engine, tmp_path, keep_alive=keep_alive) as client:
        if keep_alive > 1:
            with pytest.raises(openai.RateLimitError):
                client.responses.create(model="cogcore/default", input=QUESTION, stream=True)
            return
        *_, last = client.responses.create(model="cogcore/default", input=QUESTION, stream=True)
        assert last.type == "response.failed"
        assert last.response.error is not None and last.response.error.code == "rate_limit_exceeded"


def test_a_prompt_longer_than_the_context(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="cogcore", input="river " * 20_000, stream=stream)
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")


def test_what_the_embedded_core_cannot_do_is_refused(client: OpenAI) -> None:
    schema: Any = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    for fields, param in (({"tools": [WEATHER]}, "tools"), ({"text": schema}, "text.format")):
        with pytest.raises(openai.BadRequestError, match=param) as refused:
            client.responses.create(**{"model": "cogcore", "input": QUESTION, **fields})
        assert refused.value.param == param


def test_a_strict_function_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    tools: list[Any] = [
        {"type": "file_search"},
        {"type": "function", "name": "order", "parameters": {"type": "object", "not": {}}, "strict": True},
    ]
    with told(ScriptedEngine([], []), tmp_path) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as refused:
                client.responses.create(model="cogcore", input="Order.", tools=tools, stream=stream)
            assert refused.value.param == "tools[1].parameters"
        functions: list[Any] = [{"type": "function", "function": {k: v for k, v in tools[1].items() if k != "type"}}]
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model="cogcore", messages=[{"role": "user", "content": "Order."}], tools=functions, stream=True
            )
        assert refused.value.param == "tools[0].function.parameters"
