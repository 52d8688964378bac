"""Plain completions over the real core: ids in and out, whole and streamed alike, every field honoured or refused."""

import asyncio
from typing import Any, get_type_hints

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import completion_create_params

from app.api import Parts
from app.api.completion_request import CompletionRequest
from app.engine.types import Sampling, Token

TEXT = "How long is the Sorne? The Sorne is"


@pytest.fixture
def prompt(parts: Parts) -> list[int]:
    return list(parts.core.tokenizer.encode(TEXT, add_special_tokens=False))


def generated(parts: Parts, prompt: list[int], **sampling: Any) -> list[Token]:
    """What the engine itself says."""

    async def collect() -> list[Token]:
        wanted = Sampling(stop_ids=parts.core.ends, **sampling)
        return [token async for token in parts.core.engine.generate(prompt, wanted)]

    return asyncio.run(collect())


def ask(raw: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = raw.post("/v1/completions", json={"model": "cogcore", "max_tokens": 12, **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_ids_go_in_and_come_out(raw: httpx.Client, parts: Parts, prompt: list[int]) -> None:
    told = ask(raw, prompt=prompt, return_token_ids=True, return_tokens_as_token_ids=True, logprobs=3)
    tokens = generated(parts, prompt, max_tokens=12, top_logprobs=3)
    (choice,) = told["choices"]
    assert choice["prompt_token_ids"] == prompt
    assert choice["token_ids"] == [token.id for token in tokens]
    assert choice["finish_reason"] == tokens[-1].finish
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == [f"token_id:{token.id}" for token in tokens]
    assert logprobs["token_logprobs"] == pytest.approx([token.logprob for token in tokens], abs=1e-4)
    for top, token in zip(logprobs["top_logprobs"], tokens, strict=True):
        assert set(top) == {f"token_id:{n}" for n, _ in (*token.top, (token.id, 0))}
    assert told["usage"]["prompt_tokens"] == len(prompt)
    assert told["usage"]["completion_tokens"] == len(tokens)


def test_text_is_the_same_prompt(client: OpenAI, parts: Parts, prompt: list[int]) -> None:
    by_text, by_ids = (
        client.completions.create(model="cogcore", prompt=given, max_tokens=12, logprobs=0).choices[0]
        for given in (TEXT, prompt)
    )
    assert by_text.text == by_ids.text
    assert by_ids.text == parts.core.tokenizer.decode(
        [token.id for token in generated(parts, prompt, max_tokens=12)], skip_special_tokens=True
    )
    assert by_ids.logprobs is not None and by_ids.logprobs.tokens is not None
    assert by_ids.logprobs.text_offset is not None and by_ids.logprobs.text_offset[0] == 0


@pytest.mark.parametrize("fields", [{}, {"echo": True}, {"stop": ["e"]}, {"temperature": 1.0, "seed": 3}])
def test_streamed_says_the_same(client: OpenAI, prompt: list[int], fields: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "cogcore", "prompt": prompt, "max_tokens": 12, "logprobs": 1, **fields}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    *parts, last = chunks
    assert last.choices == [] and last.usage is not None and whole.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens
    choices = [chunk.choices[0] for chunk in parts]
    assert "".join(choice.text for choice in choices) == whole.choices[0].text
    assert [c.finish_reason for c in choices] == [None] * (len(choices) - 1) + [whole.choices[0].finish_reason]
    said = whole.choices[0].logprobs
    assert said is not None
    for name in ("tokens", "text_offset"):
        assert [value for c in choices for value in getattr(c.logprobs, name)] == getattr(said, name)


def test_an_echo_is_scored(raw: httpx.Client, parts: Parts, prompt: list[int]) -> None:
    (choice,) = ask(raw, prompt=prompt, echo=True, logprobs=0, max_tokens=0)["choices"]
    want = asyncio.run(parts.core.engine.score(prompt[:1], prompt[1:])).logprobs
    assert choice["text"] == TEXT
    first, *rest = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert rest == pytest.approx(want, abs=1e-4)
    assert choice["finish_reason"] == "length"
    (more,) = ask(raw, prompt=prompt, echo=True, logprobs=0, max_tokens=1, return_token_ids=True)["choices"]
    assert more["logprobs"]["token_logprobs"][1:-1] == pytest.approx(want, abs=1e-4)
    assert len(more["token_ids"]) == 1


def test_ends_and_biases(raw: httpx.Client, parts: Parts, prompt: list[int]) -> None:
    tokens = generated(parts, prompt, max_tokens=12)
    words = str(parts.core.tokenizer.decode([token.id for token in tokens]))
    (stopped,) = ask(raw, prompt=prompt, stop=[words[3:5]])["choices"]
    assert (stopped["text"], stopped["finish_reason"]) == (words[: words.index(words[3:5])], "stop")
    (ended,) = ask(raw, prompt=prompt, stop_token_ids=[tokens[0].id], return_token_ids=True)["choices"]
    assert (ended["token_ids"], ended["text"], ended["finish_reason"]) == ([tokens[0].id], "", "stop")
    (other,) = ask(raw, prompt=prompt, logit_bias={str(tokens[0].id): -100}, return_token_ids=True)["choices"]
    assert other["token_ids"][0] != tokens[0].id


def test_every_field_of_openais_is_known() -> None:
    theirs = set(get_type_hints(completion_create_params.CompletionCreateParamsStreaming))
    assert theirs - set(CompletionRequest.model_fields) == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ["one", "two"]),
        ("prompt", [[1, 2]]),
        ("prompt", [1, 2.5]),
        ("prompt", []),
        ("prompt", [10**6]),
        ("prompt", [1] * 20_000),
        ("n", 2),
        ("best_of", 2),
        ("suffix", "x"),
        ("logprobs", 21),
        ("max_tokens", 0),
        ("top_k", -2),
        ("repetition_penalty", 1.1),
        ("stop_token_ids", [-1]),
        ("prompt_logprobs", 1),
    ],
)
def test_refused_by_name(raw: httpx.Client, field: str, value: Any) -> None:
    answer = raw.post("/v1/completions", json={"model": "cogcore", "prompt": "Hi", field: value})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"].partition("[")[0] == field


def test_a_prompt_that_is_too_long(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="cogcore", prompt=[1] * 20_000, stream=True)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_a_bias_for_a_token_that_does_not_exist(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError, match="the token 9000") as refused:
        client.completions.create(model="cogcore", prompt="Hi", echo=True, logit_bias={"9000": 5}, stream=stream)
    assert refused.value.param == "logit_bias"


def test_no_store_completes(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no store is read") as refused:
        client.completions.create(model="cogcore/default", prompt="Hi")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
