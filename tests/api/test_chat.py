"""Chat completions through OpenAI's client over the real core, memory and reader."""

import json
import re
from html import unescape
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How long is the Sorne?"}]
# Decides nothing by itself, so that the test holds for any core.
SEARCH: dict[str, Any] = {"model": "cogcore", "messages": QUESTION, "tool_choice": "required"}
NEVER_ABSTAIN = {"cogcore": {"abstain_below": 0.0}}


@pytest.mark.usefixtures("rivers")
class TestSearch:
    def test_a_searched_answer_is_quoted_from_the_document(
        self, client: OpenAI, raw: httpx.Client, rivers: str
    ) -> None:
        reply = client.chat.completions.create(**SEARCH, extra_body=NEVER_ABSTAIN)
        told: dict[str, Any] = reply.model_extra["cogcore"] if reply.model_extra else {}
        (search,) = told["searches"]
        assert {hit["file_id"] for hit in search["hits"]} == {rivers}
        assert 0 <= told["need"] <= 1
        text = client.vector_stores.files.content(rivers, vector_store_id="default").data[0].text or ""
        for place in (*search["hits"], *told["citations"]):
            assert place["quote"] == text[place["start"] : place["end"]]

        message = reply.choices[0].message
        assert reply.choices[0].finish_reason == "stop"
        assert message.content
        (cited,) = told["citations"]
        assert told["answer"] in cited["quote"]
        (annotation,) = message.annotations or []
        assert annotation.url_citation.title == "rivers.md"
        shown = raw.get(annotation.url_citation.url)
        assert shown.status_code == 200
        marked = re.search("<mark>(.*)</mark>", shown.text, re.S)
        assert marked is not None
        assert unescape(marked[1]) == cited["quote"]

        usage = reply.usage
        assert usage is not None
        assert usage.prompt_tokens == sum(r["prompt"] for r in told["rounds"])
        assert usage.completion_tokens == sum(r["generated"] for r in told["rounds"])
        assert usage.prompt_tokens_details is not None
        # The second round reads only what is new.
        assert usage.prompt_tokens_details.cached_tokens is not None
        assert usage.prompt_tokens_details.cached_tokens >= told["rounds"][0]["prompt"]

    def test_streamed_says_the_same(self, client: OpenAI) -> None:
        whole = client.chat.completions.create(**SEARCH)
        told: dict[str, Any] = {}
        text = reasoning = ""
        for chunk in client.chat.completions.create(**SEARCH, stream=True, stream_options={"include_usage": True}):
            told = (chunk.model_extra or {}).get("cogcore", told)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasoning += (choice.delta.model_extra or {}).get("reasoning", "")
        assert text == whole.choices[0].message.content
        assert reasoning == (whole.choices[0].message.model_extra or {})["reasoning"]
        expected = (whole.model_extra or {})["cogcore"]
        for key in ("answer", "abstained", "searches", "citations", "calculations"):
            assert told[key] == expected[key]
        assert told["need"] == pytest.approx(expected["need"], abs=1e-3)

    def test_the_openai_stream_helper_reads_it(self, client: OpenAI) -> None:
        with client.chat.completions.stream(**SEARCH) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.content
        assert final.choices[0].finish_reason == "stop"

    def test_events_as_they_travel(self, raw: httpx.Client) -> None:
        with raw.stream("POST", "/v1/chat/completions", json={**SEARCH, "stream": True}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert ["cogcore" in chunk for chunk in chunks].index(True) == len(chunks) - 1


def test_a_model_answers_from_its_own_store(client: OpenAI) -> None:
    store = client.vector_stores.create(name="lakes")
    file = client.files.create(file=("lakes.txt", b"Lake Arven is 40 metres deep."), purpose="assistants")
    client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
    for model, extension in (("cogcore/lakes", None), ("cogcore", {"cogcore": {"stores": ["lakes"]}})):
        reply = client.chat.completions.create(**{**SEARCH, "model": model}, extra_body=extension)
        (search,) = (reply.model_extra or {})["cogcore"]["searches"]
        assert search["store"] == store.id
        assert {hit["file_id"] for hit in search["hits"]} == {file.id}
        assert reply.model == model


def test_policy_of_one_request(client: OpenAI) -> None:
    def searches(**fields: Any) -> int:
        reply = client.chat.completions.create(model="cogcore", messages=QUESTION, max_tokens=60, **fields)
        return len((reply.model_extra or {})["cogcore"]["searches"])

    assert searches(extra_body={"cogcore": {"need_threshold": 0.0}}) == 1
    assert searches(extra_body={"cogcore": {"need_threshold": 1.0}}) == 0
    assert searches(tool_choice="none") == 0
    assert searches(extra_body={"cogcore": {"max_searches": 0}}) == 0


def test_abstaining_is_told(client: OpenAI) -> None:
    reply = client.chat.completions.create(**SEARCH, extra_body={"cogcore": {"abstain_below": 1.0}})
    told = (reply.model_extra or {})["cogcore"]
    assert (told["abstained"], told["answer"], told["citations"]) == (True, None, [])
    assert "do not know" in (reply.choices[0].message.content or "")


def test_limits_and_stops(client: OpenAI) -> None:
    talk: dict[str, Any] = {
        "model": "cogcore",
        "messages": [{"role": "user", "content": "Hello there"}],
        "extra_body": {"cogcore": {"need_threshold": 1.0}},
    }
    cut = client.chat.completions.create(**talk, max_completion_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 3
    one, two = (client.chat.completions.create(**talk, temperature=1.5, seed=7, max_tokens=40) for _ in range(2))
    assert one.choices[0].message.content == two.choices[0].message.content


def test_conversation_with_system_and_parts(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello!"},
        *QUESTION,
    ]
    reply = client.chat.completions.create(model="cogcore", messages=messages, tool_choice="required")
    assert (reply.model_extra or {})["cogcore"]["searches"]
    # As the client's own dump has it, with the fields that are empty.
    echoed: Any = reply.choices[0].message.model_dump()
    assert "function_call" in echoed
    echoed["provider_specific_fields"] = {"refusal": None}  # litellm's
    assert client.chat.completions.create(model="cogcore", messages=[*messages, echoed, *QUESTION]).choices


def test_what_the_embedded_core_cannot_do_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="cogcore", messages=QUESTION, tools=[{"type": "function", "function": {"name": "weather"}}]
        )
    assert refused.value.param == "tools"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="cogcore", messages=[{"role": "user", "content": "river " * 20_000}], stream=stream
        )
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("stream", [False, True])
def test_a_bias_for_a_token_that_does_not_exist(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError, match="the token 9000") as refused:
        client.chat.completions.create(model="cogcore", messages=QUESTION, logit_bias={"9000": 5}, stream=stream)
    assert refused.value.param == "logit_bias"
