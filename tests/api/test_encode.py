"""Streamed and whole are two folds of the same events: what a client puts together must be equal."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.agent.events import (
    Calculated,
    Cited,
    Decided,
    Done,
    Event,
    Round,
    Searched,
    Searching,
    Text,
    Thinking,
    ToolCall,
)
from app.api.encode import chunks, whole
from app.api.ledger import Head, hit_wire, sentence
from app.engine.types import Token
from index.types import Chunk, Hit, Mark

TEXT = "Sorne\n\nThe Sorne is long. It is 312 km long. It ends in Lake Arven."
CHUNK = Chunk("ch/1", "file-1", "rivers.md", TEXT, 100, 100 + len(TEXT), 2, ("Rivers",))
AT = TEXT.index("312")
HIT = Hit(CHUNK, 0.9, Mark(AT, AT + 6, 0.8))
HEAD = Head("cogcore", "http://here", versions={"vs_1": 6}, id="chatcmpl-1", created=7)
DONE = Done("stop", "312 km", 0.8, False, 3, (Round(10, 0, 5), Round(40, 15, 6)))
SEARCHED: Sequence[Event] = (
    Thinking("I must "),
    Thinking("look."),
    Decided(0.93, True),
    Searching("long Sorne", ["vs_1"]),
    Searched("long Sorne", "vs_1", (HIT,), 7),
    Text("The answer "),
    Text("is 312 km."),
    Cited(HIT, "312 km", 100 + AT, 106 + AT, 14, 20),
    DONE,
)
CALLED: Sequence[Event] = (
    Decided(0.1, False),
    ToolCall("call_1", "weather", '{"city": "Arven"}'),
    ToolCall("call_2", "time", "{}"),
    Done("tool_calls", None, 0.0, False, 0, (Round(10, 0, 5),)),
)


async def replay(events: Sequence[Event | None]) -> AsyncIterator[tuple[int, Event] | None]:
    """One turn's events; None is a silence."""
    for event in events:
        yield None if event is None else (0, event)


async def streamed(events: Sequence[Event], *, include_usage: bool = False) -> list[dict[str, Any]]:
    return [chunk async for chunk in chunks(replay(events), HEAD, include_usage=include_usage) if chunk]


async def test_whole_answer_has_openais_shape() -> None:
    body = await whole(replay(SEARCHED), HEAD)
    completion = ChatCompletion.model_validate(body, strict=True)
    message = completion.choices[0].message
    assert message.content == "The answer is 312 km."
    assert body["choices"][0]["message"]["reasoning"] == body["choices"][0]["message"]["reasoning_content"]
    assert body["choices"][0]["message"]["reasoning"] == "I must look."
    assert completion.choices[0].finish_reason == "stop"
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (50, 11, 61)
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 15
    assert usage.completion_tokens_details.reasoning_tokens == 3
    assert message.annotations is not None
    citation = message.annotations[0].url_citation
    assert (citation.title, message.content[citation.start_index : citation.end_index]) == ("rivers.md", "312 km")
    assert citation.url == f"http://here/v1/passages/ch%2F1?start={100 + AT}&end={106 + AT}"


async def test_extension_tells_decision_search_and_quote() -> None:
    told = (await whole(replay(SEARCHED), HEAD))["cogcore"]
    assert (told["answer"], told["need"], told["confidence"], told["abstained"]) == ("312 km", 0.93, 0.8, False)
    assert told["rounds"] == [
        {"prompt": 10, "cached": 0, "generated": 5},
        {"prompt": 40, "cached": 15, "generated": 6},
    ]
    assert told["stores"] == [{"id": "vs_1", "version": 6}]
    (search,) = told["searches"]
    assert (search["query"], search["store"], search["version"]) == ("long Sorne", "vs_1", 7)
    (hit,) = search["hits"]
    assert (hit["file_id"], hit["filename"], hit["chunk_id"], hit["page"]) == ("file-1", "rivers.md", "ch/1", 2)
    assert hit["quote"] == "It is 312 km long." == TEXT[hit["start"] - 100 : hit["end"] - 100]
    (cited,) = told["citations"]
    assert (cited["quote"], cited["start"], cited["end"]) == ("312 km", 100 + AT, 106 + AT)


async def test_stream_goes_in_openais_order() -> None:
    made = await streamed(SEARCHED)
    for chunk in made:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    kinds = [next(iter(chunk["choices"][0]["delta"]), "") for chunk in made]
    happened = [
        chunk.get("cogcore_event", {}).get("type", kind or "end") for chunk, kind in zip(made, kinds, strict=True)
    ]
    thoughts, words = ["reasoning"] * 2, ["content"] * 2
    looked = ["decided", "searching", "searched"]
    assert happened == ["role", *thoughts, *looked, *words, "cited", "annotations", "end"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in made] == [None] * 10 + ["stop"]
    assert {chunk["id"] for chunk in made} == {"chatcmpl-1"}
    assert ["cogcore" in chunk for chunk in made] == [False] * 10 + [True]
    assert not any("usage" in chunk for chunk in made)


async def test_what_happens_is_told_as_the_extension_tells_it() -> None:
    made = await streamed(SEARCHED)
    told = made[-1]["cogcore"]
    decided, searching, searched, cited = (chunk["cogcore_event"] for chunk in made if "cogcore_event" in chunk)
    assert decided == {"type": "decided", "need": told["need"], "searches": True}
    assert searching == {"type": "searching", "query": "long Sorne", "stores": ["vs_1"]}
    assert searched == {"type": "searched", **told["searches"][0]}
    assert cited == {"type": "cited", **told["citations"][0]}


async def test_silence_passes_through() -> None:
    events = [None, *SEARCHED[:4], None, *SEARCHED[4:]]
    with_silence = [chunk async for chunk in chunks(replay(events), HEAD, include_usage=False)]
    assert [n for n, chunk in enumerate(with_silence) if chunk is None] == [1, 6]
    assert [chunk for chunk in with_silence if chunk] == await streamed(SEARCHED)
    assert await whole(replay(events), HEAD) == await whole(replay(SEARCHED), HEAD)


async def test_the_turns_of_one_request_keep_apart() -> None:
    async def mixed() -> AsyncIterator[tuple[int, Event] | None]:
        for n in range(max(len(SEARCHED), len(CALLED))):
            for index, events in enumerate((SEARCHED, CALLED, SEARCHED)):
                if n < len(events):
                    yield index, events[n]

    body = await whole(mixed(), HEAD, n=3)
    alone = [await whole(replay(events), HEAD) for events in (SEARCHED, CALLED, SEARCHED)]
    ChatCompletion.model_validate(body, strict=True)
    assert body["choices"] == [{**one["choices"][0], "index": n} for n, one in enumerate(alone)]
    assert body["cogcore"] == {"choices": [one["cogcore"] for one in alone]}
    for kind in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert body["usage"][kind] == sum(one["usage"][kind] for one in alone)

    for include_usage in (False, True):
        made = [chunk async for chunk in chunks(mixed(), HEAD, n=3, include_usage=include_usage) if chunk]
        assert [chunk["choices"][0]["delta"].get("role") for chunk in made[:3]] == ["assistant"] * 3
        for index, events in enumerate((SEARCHED, CALLED, SEARCHED)):
            mine = [c for chunk in made for c in chunk["choices"] if c["index"] == index]
            assert mine == [{**chunk["choices"][0], "index": index} for chunk in await streamed(events)]
        assert ["cogcore" in chunk for chunk in made].index(True) == len(made) - 1
        assert made[-1]["cogcore"] == body["cogcore"]
        assert made[-1].get("usage") == (body["usage"] if include_usage else None)


async def test_logprobs_are_of_the_cores_words_only() -> None:
    def spelling(tokens: Sequence[Token]) -> list[dict[str, Any]]:
        return [{"token": f"t{t.id}", "logprob": t.logprob, "bytes": None, "top_logprobs": []} for t in tokens]

    head = replace(HEAD, spelling=spelling)
    events = (Text("Hé", (Token(1, -0.1), Token(2, -0.2))), Text("!", (Token(3, -0.3),)), Text("\n\n> quoted"), DONE)
    completion = ChatCompletion.model_validate(await whole(replay(events), head), strict=True)
    assert completion.choices[0].logprobs is not None
    assert [entry.token for entry in completion.choices[0].logprobs.content or []] == ["t1", "t2", "t3"]
    made = [chunk async for chunk in chunks(replay(events), head, include_usage=False) if chunk]
    told = [ChatCompletionChunk.model_validate(chunk, strict=True).choices[0].logprobs for chunk in made]
    assert [[entry.token for entry in one.content or []] if one else None for one in told] == [
        None,
        ["t1", "t2"],
        ["t3"],
        None,
        None,
    ]
    assert (await whole(replay(events), HEAD))["choices"][0]["logprobs"] is None


async def test_the_thoughts_of_two_rounds_are_two_paragraphs() -> None:
    events = [SEARCHED[0], SEARCHED[1], SEARCHED[4], Thinking("[1] answers "), Thinking("this."), DONE]
    reasoning = (await whole(replay(events), HEAD))["choices"][0]["message"]["reasoning"]
    assert reasoning == "I must look.\n[1] answers this."
    told = [chunk["choices"][0]["delta"].get("reasoning", "") for chunk in await streamed(events)]
    assert "".join(told) == reasoning


async def test_usage_comes_last_when_asked_for() -> None:
    made = await streamed(SEARCHED, include_usage=True)
    body = await whole(replay(SEARCHED), HEAD)
    assert [chunk["usage"] for chunk in made[:-1]] == [None] * (len(made) - 1)
    assert made[-1]["choices"] == []
    assert made[-1]["usage"] == body["usage"]
    assert made[-1]["cogcore"] == body["cogcore"]


async def test_tool_calls_come_as_deltas() -> None:
    made = await streamed(CALLED)
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in made[2:-1]]
    assert deltas == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city": "Arven"}'}},
        {"index": 1, "id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"
    message = (await whole(replay(CALLED), HEAD))["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "time"]


EVENTS = st.one_of(
    st.builds(Thinking, st.text(max_size=5)),
    st.builds(Text, st.text(max_size=5)),
    st.builds(Decided, st.floats(0, 1), st.booleans()),
    st.builds(Calculated, st.text(max_size=5), st.text(max_size=5), st.booleans()),
    st.just(SEARCHED[3]),
    st.just(SEARCHED[4]),
    st.just(SEARCHED[7]),
    st.just(CALLED[1]),
)


@given(st.lists(EVENTS, max_size=12), st.booleans())
async def test_both_folds_agree(events: list[Event], include_usage: bool) -> None:
    body = await whole(replay([*events, DONE]), HEAD)
    message = body["choices"][0]["message"]
    made = await streamed([*events, DONE], include_usage=include_usage)
    deltas = [choice["delta"] for chunk in made for choice in chunk["choices"]]

    def joined(kind: str) -> str:
        return "".join(delta.get(kind, "") for delta in deltas)

    assert joined("content") == (message["content"] or "")
    assert joined("reasoning") == joined("reasoning_content") == (message["reasoning"] or "")
    assert [a for delta in deltas for a in delta.get("annotations", [])] == message["annotations"]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert "".join(c["function"]["arguments"] for c in calls) == "".join(
        c["function"]["arguments"] for c in message.get("tool_calls", [])
    )
    assert made[-1]["cogcore"] == body["cogcore"]


async def test_a_turn_that_just_ends_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="without its last event"):
        await whole(replay(SEARCHED[:-1]), HEAD)


def test_a_hit_that_no_reader_saw_quotes_all_of_it() -> None:
    wire = hit_wire(Hit(CHUNK, 0.5))
    assert (wire["quote"], wire["start"], wire["end"]) == (TEXT, 100, 100 + len(TEXT))


@given(st.text("ab .\n", max_size=30), st.data())
def test_sentence_holds_the_mark(text: str, data: st.DataObject) -> None:
    words = [n for n, c in enumerate(text) if not c.isspace()]
    if not words:
        return
    start = data.draw(st.sampled_from(words))
    end = data.draw(st.sampled_from([n for n in words if n >= start])) + 1
    begin, finish = sentence(text, start, end)
    assert 0 <= begin <= start < end <= finish <= len(text)
    assert text[begin:finish] == text[begin:finish].strip()
