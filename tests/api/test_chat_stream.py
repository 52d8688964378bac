"""What a chat streams while it happens, several answers at once, log-probabilities, calls: by OpenAI's client."""

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.cores.load import TINY_FOLDER, load_tokenizer
from app.engine.types import ANYBODY, EngineBusy, Scored, Whose
from tests.api.live import scripted
from tests.api.test_chat import QUESTION, SEARCH
from tests.fakes import ScriptedEngine

UNSURE = -20.0
HELLO: dict[str, Any] = {
    "model": "cogcore",
    "messages": [{"role": "user", "content": "Hello there"}],
    "max_tokens": 40,
    "extra_body": {"cogcore": {"need_threshold": 1.0}},
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def both(client: OpenAI, **asked: Any) -> tuple[ChatCompletion, ChatCompletion, list[ChatCompletionChunk]]:
    """The whole answer, the one that OpenAI's helper puts together from a stream, and the chunks of that."""
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        # Not get_final_completion(): that raises for an answer that its limit has cut.
        return whole, stream.current_completion_snapshot, chunks


def told(chunk: ChatCompletionChunk) -> dict[str, Any]:
    """What the chunk says of the turn's doings."""
    event: dict[str, Any] = (chunk.model_extra or {}).get("cogcore_event", {})
    return event


def kind(chunk: ChatCompletionChunk) -> str:
    """What one chunk of a single answer brings."""
    if not chunk.choices:
        return "usage"
    (choice,) = chunk.choices
    delta = choice.delta.model_dump(exclude_none=True)
    named = next((name for name in ("role", "reasoning", "content", "annotations") if name in delta), "")
    return told(chunk).get("type") or named or ("end" if choice.finish_reason else "")


def ids(*texts: str) -> list[int]:
    """A script: the texts, and the end token."""
    tokenizer = load_tokenizer(TINY_FOLDER)
    written = [number for text in texts for number in tokenizer.encode(text, add_special_tokens=False)]
    return [*written, int(tokenizer.eos_token_id)]


def call(name: str, **arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@pytest.mark.usefixtures("rivers")
class TestAsItHappens:
    def test_order(self, client: OpenAI) -> None:
        asked = {**SEARCH, "extra_body": {"cogcore": {"abstain_below": 0.0}}}
        whole, final, chunks = both(client, **asked)
        assert final.choices[0].message.content == whole.choices[0].message.content
        kinds = [kind(chunk) for chunk in chunks]
        seen = {kind: (kinds.index(kind), len(kinds) - 1 - kinds[::-1].index(kind)) for kind in kinds}
        looked_up = ["decided", "searching", "searched", "content", "annotations", "end", "usage"]
        for earlier, later in pairwise(looked_up):
            assert seen[earlier][1] < seen[later][0], f"{earlier} before {later}"
        assert kinds[0] == "role"
        assert seen["role"] == (0, 0)
        assert seen["reasoning"][1] < seen["content"][0]
        assert seen["searched"][1] < seen["cited"][0] < seen["annotations"][0]

    def test_what_is_told_is_in_the_extension_too(self, client: OpenAI) -> None:
        _, _, chunks = both(client, **SEARCH, extra_body={"cogcore": {"abstain_below": 0.0}})
        extension = (chunks[-1].model_extra or {})["cogcore"]
        events = [event for chunk in chunks if (event := told(chunk))]
        by_kind = {event["type"]: event for event in events}
        (search,), (citation,) = extension["searches"], extension["citations"]
        assert by_kind["searching"]["query"] == search["query"]
        assert by_kind["searching"]["stores"] == [search["store"]]
        assert by_kind["searched"] == {"type": "searched", **search}
        assert by_kind["cited"] == {"type": "cited", **citation}
        assert by_kind["decided"]["need"] == extension["need"]

    def test_logprobs(self, client: OpenAI) -> None:
        asked = {**SEARCH, "logprobs": True, "top_logprobs": 3, "extra_body": {"cogcore": {"abstain_below": 0.0}}}
        whole, final, chunks = both(client, **asked)
        for completion in (whole, final):
            choice = completion.choices[0]
            assert choice.logprobs is not None and choice.logprobs.content
            entries = choice.logprobs.content
            # The quote under the answer is the server's.
            words = "".join(entry.token for entry in entries).strip()
            assert (choice.message.content or "").startswith(words + "\n\n> ")
            assert b"".join(bytes(entry.bytes or []) for entry in entries).decode().strip() == words
            for entry in entries:
                likely = [one.logprob for one in entry.top_logprobs]
                assert len(likely) == 3
                assert likely == sorted(likely, reverse=True)
                assert entry.logprob <= likely[0] + 1e-6
        said, streamed = (c.choices[0].logprobs for c in (whole, final))
        assert said and streamed and said.content and streamed.content
        assert [entry.token for entry in said.content] == [entry.token for entry in streamed.content]
        quoted = [c for chunk in chunks for c in chunk.choices if (c.delta.content or "").startswith("\n\n> ")]
        assert [choice.logprobs for choice in quoted] == [None]

    def test_no_logprobs_unless_asked_for(self, client: OpenAI) -> None:
        assert client.chat.completions.create(**SEARCH).choices[0].logprobs is None
        reply = client.chat.completions.create(**HELLO, logprobs=True)
        entries = reply.choices[0].logprobs
        assert entries is not None and entries.content
        assert [entry.top_logprobs for entry in entries.content] == [[]] * len(entries.content)

    def test_several_searching_answers(self, client: OpenAI) -> None:
        whole, final, chunks = both(client, **SEARCH, n=2, extra_body={"cogcore": {"abstain_below": 0.0}})
        contents = [[choice.message.content for choice in completion.choices] for completion in (whole, final)]
        assert contents[0] == contents[1]
        assert contents[0][0] == contents[0][1]  # greedy
        extension = (whole.model_extra or {})["cogcore"]["choices"]
        assert [len(one["searches"]) for one in extension] == [1, 1]
        assert {chunk.choices[0].index for chunk in chunks if told(chunk).get("type") == "searching"} == {0, 1}


def test_several_answers(client: OpenAI) -> None:
    asked = {**HELLO, "temperature": 1.5, "seed": 7}
    alone = client.chat.completions.create(**asked)
    whole, final, chunks = both(client, **asked, n=8)
    for completion in (whole, final):
        assert [choice.index for choice in completion.choices] == list(range(8))
        contents = [choice.message.content for choice in completion.choices]
        assert contents[0] == alone.choices[0].message.content
        assert len(set(contents)) > 1
    assert [c.message.content for c in whole.choices] == [c.message.content for c in final.choices]
    # Side by side, not one after the other.
    spoken = [choice.index for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert set(spoken) == set(range(8))
    assert spoken != sorted(spoken)
    extension = (whole.model_extra or {})["cogcore"]["choices"]
    assert whole.usage is not None and final.usage is not None
    assert whole.usage.completion_tokens == sum(r["generated"] for one in extension for r in one["rounds"])
    assert final.usage.completion_tokens == whole.usage.completion_tokens


class Slow(ScriptedEngine):
    """Prefills for a while, and may refuse after it."""

    refuses = False

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        await asyncio.sleep(0.4)
        if self.refuses:
            raise EngineBusy("64 requests wait already", 1.5)
        return await super().score(prompt, continuation, instead=instead, whose=whose)


def test_a_long_prefill_keeps_the_connection(tmp_path: Path) -> None:
    engine = Slow([ids("</think>\n\nHello!")] * 3, [UNSURE] * 3)
    with scripted(engine, tmp_path, "hermes", keep_alive=0.05) as url:
        ask = {"model": "cogcore", "messages": QUESTION, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=ask, timeout=30) as answer:
            lines = [line for line in answer.iter_lines() if line]
        said = [line.startswith(": keep-alive") for line in lines]
        assert '"role":"assistant"' in lines[0]
        assert said[1]
        assert lines[-1] == "data: [DONE]"
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        whole, final, _ = both(client, model="cogcore", messages=QUESTION)
        assert whole.choices[0].message.content == final.choices[0].message.content


@pytest.mark.parametrize(("keep_alive", "error"), [(10, openai.RateLimitError), (0.05, openai.APIError)])
def test_a_refusal_has_its_status_until_the_first_silence(
    tmp_path: Path, keep_alive: float, error: type[openai.APIError]
) -> None:
    engine = Slow()
    engine.refuses = True
    with scripted(engine, tmp_path, keep_alive=keep_alive) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        with pytest.raises(error, match="wait already") as refused:
            list(client.chat.completions.create(model="cogcore", messages=QUESTION, stream=True))
        assert refused.value.code == "rate_limit_exceeded"


def test_calls_of_the_client_beside_the_servers_own(tmp_path: Path) -> None:
    written = ids(
        "Sure.\n", call("calculate", expression="2^10"), call("weather", city="Köln"), call("weather", city="Rome")
    )
    with scripted(ScriptedEngine([written] * 4, [UNSURE] * 4), tmp_path, "hermes") as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        asked: dict[str, Any] = {"model": "cogcore", "messages": QUESTION, "tools": [WEATHER]}
        for fields, cities in (({}, ["Köln", "Rome"]), ({"parallel_tool_calls": False}, ["Köln"])):
            whole, final, chunks = both(client, **asked, **fields)
            for completion in (whole, final):
                choice = completion.choices[0]
                assert choice.finish_reason == "tool_calls"
                assert choice.message.content == "Sure."
                made = [one.function for one in choice.message.tool_calls or [] if one.type == "function"]
                assert [(one.name, json.loads(one.arguments)) for one in made] == [
                    ("weather", {"city": city}) for city in cities
                ]
            (calculation,) = (whole.model_extra or {})["cogcore"]["calculations"]
            assert calculation["result"] == "1024"
            kinds = [told(chunk).get("type") for chunk in chunks]
            first = next(n for n, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].delta.tool_calls)
            assert kinds.index("calculated") < first


def test_cached_prompts_are_shared_by_client_and_key_only(tmp_path: Path) -> None:
    engine = ScriptedEngine([ids("Hi!")] * 9, [UNSURE] * 9)
    with scripted(engine, tmp_path, "hermes") as url, httpx.Client(base_url=f"{url}/v1") as client:

        def ask(path: str, token: str, **fields: str) -> str:
            """The key that this request brings."""
            before = engine.keys
            body = {"prompt": "Hi"} if path == "/completions" else {"messages": QUESTION}
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.post(path, json={"model": "cogcore", **body, **fields}, headers=headers)
            assert answer.status_code == 200, answer.text
            return "".join(engine.keys - before)

        ours = ask("/chat/completions", "sesame")
        assert ours and "sesame" not in ours
        assert ask("/chat/completions", "sesame") == ask("/completions", "sesame") == ""
        others = [
            ask("/chat/completions", "pumpkin"),
            ask("/chat/completions", "sesame", prompt_cache_key="k"),
            ask("/completions", "pumpkin", cache_salt="k"),
        ]
        assert len({ours, *others, ""}) == 5
        assert ask("/completions", "sesame", cache_salt="k") == ""
