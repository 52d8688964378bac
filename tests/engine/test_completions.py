"""The shapes in which servers tell tokens, and what a request says to all of them."""

from typing import Any

import pytest

from app.engine.completions import body, tokens
from app.engine.types import RequestFailed, Sampling, Token

VLLM: dict[str, Any] = {
    "text": " two",
    "token_ids": [7, 9],
    "logprobs": {
        "tokens": ["token_id:7", "token_id:9"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"token_id:7": -0.5, "token_id:3": -1.0}, {"token_id:9": -1.5, "token_id:4": -0.25}],
    },
}
SGLANG: dict[str, Any] = {
    "text": " two",
    "token_ids": [7],
    "logprobs": {"tokens": [" two"], "token_logprobs": [-0.5], "top_logprobs": [{" two": -0.5}]},
}
LLAMA: dict[str, Any] = {
    "text": " two",
    "logprobs": {
        "content": [
            {
                "id": 7,
                "token": " two",
                "bytes": [32, 116, 119, 111],
                "logprob": -0.5,
                "top_logprobs": [
                    {"id": 7, "token": " two", "bytes": [32, 116, 119, 111], "logprob": -0.5},
                    {"id": 3, "token": " a", "bytes": [32, 97], "logprob": -1.0},
                ],
            }
        ]
    },
}


def test_three_shapes() -> None:
    first = Token(7, -0.5, ((7, -0.5), (3, -1.0)))
    assert tokens(VLLM, 2) == [first, Token(9, -1.5, ((4, -0.25), (9, -1.5)))]
    assert tokens(LLAMA, 2) == [first]
    assert tokens(LLAMA, 0) == tokens(SGLANG, 0) == tokens(SGLANG, 2) == [Token(7, -0.5)]


def test_an_event_without_tokens() -> None:
    assert tokens({"text": "", "logprobs": None, "finish_reason": "stop"}, 1) == []


@pytest.mark.parametrize("told", [{"token_ids": [7, 8]}, {"token_logprobs": [-0.5, -1.0]}])
def test_what_cannot_be_read(told: dict[str, Any]) -> None:
    with pytest.raises(RequestFailed, match="cannot be read"):
        tokens({**SGLANG, **told, "logprobs": {**SGLANG["logprobs"], **told}}, 0)


def test_biases_of_one_id_add_up() -> None:
    asked = body("m", [1], Sampling(logit_bias=((5, 3.0), (5, -100.0), (6, -50.0), (6, -60.0))), "salt", stream=False)
    assert asked["logit_bias"] == {"5": -97.0, "6": -100.0}
    assert (asked["cache_salt"], asked["stream"], asked["top_k"]) == ("salt", False, -1)
    assert "seed" not in asked
