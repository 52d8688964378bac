"""A turn's events as those of a response: their order, their shapes, and that the last one holds the whole."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from app.agent.events import Calculated, Cited, Done, Event, Round, Searched, Searching, Text, Thinking
from app.api.encode import Numbered, unmarked
from app.api.responses.encode import Reply, told, unfailing, whole
from app.engine.types import EngineBusy, EngineError
from tests.api.test_encode import CALLED, HEAD, HIT, SEARCHED

OPENAIS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ABOUT: dict[str, Any] = {
    "model": "cogcore",
    "instructions": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
}
DONE = Done("stop", None, 0.8, False, 0, (Round(10, 0, 5),))


async def replay(events: Sequence[Event | Exception | None]) -> AsyncGenerator[Numbered | None]:
    for event in events:
        if isinstance(event, Exception):
            raise event
        yield None if event is None else (0, event)


async def streamed(events: Sequence[Event | Exception | None], hits: int | None = None) -> list[dict[str, Any]]:
    """The events that a client gets. Each is one that OpenAI's own types know, without a field that is missing."""
    reply = Reply(HEAD, ABOUT, hits)
    made = [event async for event in unfailing(told(replay(events), reply, unmarked), reply) if event]
    for number, event in enumerate(made):
        OPENAIS.validate_python(event)
        assert event["sequence_number"] == number
    return made


def short(events: Sequence[dict[str, Any]]) -> list[str]:
    """`2 output_text.delta`: the item's number and what happens to it."""
    names = [event["type"].removeprefix("response.") for event in events]
    places = [event.get("output_index") for event in events]
    return [name if place is None else f"{place} {name}" for place, name in zip(places, names, strict=True)]


async def test_order_of_a_turn_that_searches() -> None:
    assert short(await streamed(SEARCHED)) == [
        "created",
        "in_progress",
        "0 output_item.added",
        "0 reasoning_summary_part.added",
        "0 reasoning_summary_text.delta",
        "0 reasoning_summary_text.delta",
        "0 reasoning_summary_text.done",
        "0 reasoning_summary_part.done",
        "0 output_item.done",
        "1 output_item.added",
        "1 file_search_call.in_progress",
        "1 file_search_call.searching",
        "1 file_search_call.completed",
        "1 output_item.done",
        "2 output_item.added",
        "2 content_part.added",
        "2 output_text.delta",
        "2 output_text.delta",
        "2 output_text.annotation.added",
        "2 output_text.annotation.added",
        "2 output_text.done",
        "2 content_part.done",
        "2 output_item.done",
        "completed",
    ]


async def test_order_of_calls() -> None:
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    assert short(await streamed(CALLED)) == [
        "created",
        "in_progress",
        *(f"{item} {name}" for item in (0, 1) for name in call),
        "completed",
    ]


async def test_the_whole_response() -> None:
    body = await whole(told(replay(SEARCHED), Reply(HEAD, ABOUT, 5), unmarked))
    response = Response.model_validate(body, strict=False)
    thought, search, message = response.output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["I must look."]
    assert search.type == "file_search_call"
    assert (search.queries, search.status) == (["long Sorne"], "completed")
    (result,) = search.results or []
    assert (result.file_id, result.filename, result.score, result.text) == (
        "file-1",
        "rivers.md",
        0.9,
        HIT.chunk.text,
    )
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert (part.text, part.logprobs) == ("The answer is 312 km.", [])
    by_file, by_url = part.annotations
    assert by_file.type == "file_citation"
    assert (by_file.file_id, by_file.filename, by_file.index) == ("file-1", "rivers.md", 14)
    assert by_url.type == "url_citation"
    assert (by_url.start_index, by_url.end_index, by_url.title) == (14, 20, "rivers.md")
    assert by_url.url.startswith("http://here/v1/passages/ch%2F1?")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (50, 11)
    assert response.usage.input_tokens_details.cached_tokens == 15
    assert response.usage.output_tokens_details.reasoning_tokens == 3
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert body["cogcore"]["status"] == "answered"
    assert body["completed_at"] >= body["created_at"] == 7


@pytest.mark.parametrize("events", [SEARCHED, CALLED])
async def test_the_pieces_make_the_items(events: Sequence[Event]) -> None:
    made = await streamed(events)
    done = [event["item"] for event in made if event["type"] == "response.output_item.done"]
    assert done == made[-1]["response"]["output"]
    added = [event["item"] for event in made if event["type"] == "response.output_item.added"]
    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert len({item["id"] for item in done}) == len(done)
    for number, item in enumerate(done):
        of_it = [event for event in made if event.get("output_index") == number]
        assert {event["item_id"] for event in of_it if "item_id" in event} == {item["id"]}
        deltas = "".join(event["delta"] for event in of_it if "delta" in event)
        match item["type"]:
            case "message":
                assert deltas == item["content"][0]["text"]
                annotations = [event["annotation"] for event in of_it if "annotation" in event]
                assert annotations == item["content"][0]["annotations"]
            case "reasoning":
                assert deltas == item["summary"][0]["text"]
            case "function_call":
                assert deltas == item["arguments"]


async def test_results_only_where_they_are_included() -> None:
    for hits, told_of in ((None, None), (5, [HIT.chunk.text])):
        made = await streamed(SEARCHED, hits)
        (search,) = (item for item in made[-1]["response"]["output"] if item["type"] == "file_search_call")
        assert (search["results"] and [result["text"] for result in search["results"]]) == told_of


async def test_several_stores_are_one_search() -> None:
    found = [Searched("q", store, (HIT,), 1) for store in ("vs_1", "vs_2")]
    made = await streamed([Searching("q", ["vs_1", "vs_2"]), *found, Text("So."), DONE], 1)
    assert [name for name in short(made) if "file_search" in name] == [
        "0 file_search_call.in_progress",
        "0 file_search_call.searching",
        "0 file_search_call.completed",
    ]
    assert len(made[-1]["response"]["output"][0]["results"]) == 1


async def test_text_before_and_after_a_search_is_two_messages() -> None:
    at = "Let me look.\n\nThe answer is 312 km.".index("312")
    cited = Cited(HIT, "312 km", 132, 138, at, at + 6)
    searched: list[Event] = [Searching("q", ["vs_1"]), Searched("q", "vs_1", (HIT,), 1)]
    made = await streamed([Text("Let me look."), *searched, Text("\n\nThe answer is "), Text("312 km."), cited, DONE])
    first, search, second = made[-1]["response"]["output"]
    assert [item["type"] for item in (first, search, second)] == ["message", "file_search_call", "message"]
    (part,) = second["content"]
    assert part["text"] == "The answer is 312 km."
    link = part["annotations"][1]
    assert part["text"][link["start_index"] : link["end_index"]] == "312 km"


async def test_each_round_of_thoughts_is_an_item() -> None:
    made = await streamed([Thinking("A"), Calculated("1+1", "2"), Thinking("B"), Thinking("C"), Text("2"), DONE])
    output = made[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "reasoning", "message"]
    assert [item["summary"][0]["text"] for item in output[:2]] == ["A", "BC"]


async def test_a_limit_makes_it_incomplete() -> None:
    made = await streamed([Text("The ans"), Done("length", None, 0.1, False, 0, (Round(10, 0, 3),))])
    assert made[-1]["type"] == "response.incomplete"
    response = made[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == made[-2]["item"]["status"] == "incomplete"
    assert response["completed_at"] is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineError("the weights are gone"), "server_error"),
        (EngineBusy("too many", 1.0), "rate_limit_exceeded"),
        (ZeroDivisionError("a secret"), "server_error"),
    ],
)
async def test_a_failure_is_the_last_event(error: Exception, code: str) -> None:
    made = await streamed([Thinking("I "), Text("The ans"), error])
    assert made[-1]["type"] == "response.failed"
    response = made[-1]["response"]
    assert (response["status"], response["error"]["code"], response["usage"]) == ("failed", code, None)
    assert [item.get("status") for item in response["output"]] == [None, "incomplete"]
    assert "secret" not in json.dumps(made)
    with pytest.raises(type(error)):
        await whole(told(replay([error]), Reply(HEAD, ABOUT), unmarked))


async def test_silence_goes_through() -> None:
    reply = Reply(HEAD, ABOUT)
    made = [event async for event in told(replay([None, Text("A"), None, DONE]), reply, unmarked)]
    assert [n for n, event in enumerate(made) if event is None] == [2, 6]
