"""OpenAI's /v1/completions as vLLM, SGLang, llama.cpp and Cogcore speak it: a request out, tokens in.

Whatever a server has a default for is said, since these are read from the model's folder (vLLM) or are nobody's choice
(llama.cpp's top-k of 40). Fields that a server does not know it passes over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.engine.types import RequestFailed, Sampling, Token

Wire = dict[str, Any]
NAMED = "token_id:"


def body(model: str, prompt: Sequence[int] | str, sampling: Sampling, key: str = "", **also: Any) -> Wire:
    """The request's body. `also` overrules."""
    biases: dict[int, float] = {}
    for token, bias in sampling.logit_bias:
        biases[token] = biases.get(token, 0.0) + bias
    wanted: Wire = {
        "model": model,
        "prompt": prompt,
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,  # SGLang refuses 0
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": 1.0,
        "stop_token_ids": sorted(sampling.stop_ids),
        "logprobs": max(sampling.top_logprobs, 1),  # llama.cpp tells ids only beside logprobs
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    if biases:
        wanted["logit_bias"] = {str(token): max(-100.0, min(bias, 100.0)) for token, bias in biases.items()}
    if sampling.seed is not None:
        wanted["seed"] = sampling.seed
    if key:
        wanted["cache_salt"] = key
    return {**wanted, **also}


def tokens(choice: Mapping[str, Any], count: int) -> list[Token]:
    """The tokens that a choice brings, each with the `count` likeliest. Raises RequestFailed when it has no ids."""
    told = choice.get("logprobs") or {}
    try:
        if "content" in told:  # llama.cpp
            return [
                Token(
                    one["id"], one["logprob"], _likeliest([(t["id"], t["logprob"]) for t in one["top_logprobs"]], count)
                )
                for one in told["content"]
            ]
        ids, scores = choice.get("token_ids") or [], told.get("token_logprobs") or []
        tops = told.get("top_logprobs") or [{}] * len(ids)
        return [
            Token(id_, score, _likeliest(_named(top), count)) for id_, score, top in zip(ids, scores, tops, strict=True)
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise RequestFailed(f"the server's tokens cannot be read: {error!r} in {str(choice)[:200]}") from error


def _named(top: Mapping[str, float]) -> list[tuple[int, float]]:
    # SGLang writes their texts, from which no id can be told.
    return [(int(name.removeprefix(NAMED)), score) for name, score in top.items() if name.startswith(NAMED)]


def _likeliest(found: Sequence[tuple[int, float]], count: int) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(found, key=lambda one: -one[1])[:count])
