"""An Engine over other servers: vLLM, SGLang, llama.cpp's llama-server, or another Cogcore. Token ids out and in.

`score` reads an echoed prompt's log-probabilities where the server tells them (vLLM, SGLang, Cogcore), for which the
prompt is prefilled afresh. Elsewhere (llama.cpp) it reads the TOP likeliest of each place off what the model writes by
itself: exact as long as each id of the continuation is among them; the first that is not gets the least of them, and
the rest 0. Then the sum is an upper bound, of a probability of at most 1 / TOP.

Limits: no masks, so no core with a trained loop. A log-probability is what the server calls so (SGLang's come after
the temperature), a server's own end token ends too, and `cached` is always 0: it is told too late, if at all. `key` is
sent as the cache's salt, which llama.cpp does not know; nor does it send tokens that end in half a character.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import httpx

from app.engine.completions import body, tokens
from app.engine.prompt import known_ids, prompt_ids
from app.engine.replicas import AWAY, Replicas, choice_of, complaint, options, words
from app.engine.sampler import check
from app.engine.seats import Seats
from app.engine.types import (
    ANYBODY,
    EngineUnavailable,
    InvalidSampling,
    PromptTooLong,
    RequestFailed,
    Sampling,
    Scored,
    Token,
    UnsupportedModel,
    Whose,
)

logger = logging.getLogger(__name__)
TOP = 20  # the most that vLLM tells unless it is started otherwise


@dataclass(frozen=True, slots=True)
class Served:
    """What servers have under one model's name. `echoes`: whether they tell an echoed prompt's log-probabilities."""

    model: str
    context_length: int
    echoes: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What the servers must agree with: the vocabulary's size, and which ids a text is."""

    vocab_size: int
    text: str
    ids: Sequence[int]


class RemoteEngine:
    """At most `max_sequences` requests are under way and `queue` new ones wait, whatever the servers would take."""

    masks = False

    def __init__(self, replicas: Replicas, served: Served, vocab_size: int, max_sequences: int, queue: int) -> None:
        self.vocab_size, self.context_length = vocab_size, served.context_length
        self._replicas, self._served = replicas, served
        self._seats = Seats(max_sequences, queue)
        self._salts: dict[str, str] = {}  # by what the keys begin with that they are for

    def generate(self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY) -> AsyncGenerator[Token]:
        """Raises InvalidPrompt, PromptTooLong and InvalidSampling at the call, all else from the stream."""
        ids = prompt_ids(prompt, self.vocab_size, self.context_length)
        if sampling.mask is not None:
            raise InvalidSampling("a mask needs an engine on this machine: other servers take none")
        check(sampling, self.vocab_size)
        room = self.context_length - len(ids)
        return self._placed(ids, replace(sampling, max_tokens=min(sampling.max_tokens, room)), whose)

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        """Log-probability of each continuation id given all before it, or an upper bound: see above."""
        ids, more = (known_ids(n, i, self.vocab_size) for n, i in (("prompt", prompt), ("continuation", continuation)))
        if len(ids) + len(more) >= self.context_length:
            raise PromptTooLong(len(ids) + len(more), self.context_length)
        instead = known_ids("ids instead", instead, self.vocab_size) if instead else []
        told = self._echoed if self._served.echoes else self._walked
        async with self._seats.one(whose):
            scores = await told(ids, more, whose.key)
            others = [(await told(ids, [*more[:-1], one], whose.key))[-1] for one in instead]
        return Scored(tuple(scores), instead=tuple(others))

    def forget(self, key: str | None = None) -> None:
        """A salt that was never sent finds nothing. What the servers hold is theirs to overwrite."""
        self._salts[key or ""] = secrets.token_hex(16)

    def _salted(self, key: str) -> str:
        return key + "".join(salt for begin, salt in self._salts.items() if key.startswith(begin))

    async def close(self) -> None:
        """Refuse new requests and break off those under way. Idempotent."""
        await self._replicas.close()

    async def _placed(self, ids: list[int], sampling: Sampling, whose: Whose) -> AsyncGenerator[Token]:
        async with self._seats.one(whose), aclosing(self._tokens(ids, sampling, whose.key)) as stream:
            async for token in stream:
                yield token

    async def _tokens(self, ids: Sequence[int], sampling: Sampling, key: str) -> AsyncGenerator[Token]:
        held: Token | None = None
        finish: str | None = None
        asked = body(self._served.model, ids, sampling, self._salted(key))
        async with aclosing(self._replicas.choices(asked)) as choices:
            async for choice in choices:
                # Only the reply's end tells which token was the last: each waits for what follows it.
                for token in tokens(choice, sampling.top_logprobs):
                    if held:
                        yield held
                    held = token
                finish = choice.get("finish_reason") or finish
        if finish == "stop" and sampling.stop_ids and (held is None or held.id not in sampling.stop_ids):
            # The server stopped at an end of its own, or does not show it: one of ours takes its place.
            if held:
                yield held
            held = Token(min(sampling.stop_ids), 0.0)
        if held is None or finish not in ("stop", "length"):
            raise RequestFailed(f"the server ended with the reason {finish!r} after {'some' if held else 'no'} tokens")
        yield replace(held, finish="stop" if finish == "stop" else "length")

    async def _echoed(self, ids: list[int], more: list[int], key: str) -> Sequence[float]:
        asked = body(self._served.model, ids + more, Sampling(max_tokens=1), self._salted(key), stream=False, echo=True)
        async with aclosing(self._replicas.choices(asked)) as choices:
            choice = await anext(choices)
        scores = ((choice.get("logprobs") or {}).get("token_logprobs") or [])[len(ids) : len(ids) + len(more)]
        if len(scores) < len(more) or None in scores:
            raise RequestFailed("a server tells no log-probabilities of an echoed prompt, though others do")
        return [float(score) for score in scores]

    async def _walked(self, ids: list[int], more: list[int], key: str) -> Sequence[float]:
        scores: list[float] = []
        while len(scores) < len(more):
            done = len(scores)
            asked = Sampling(max_tokens=len(more) - done, top_logprobs=min(TOP, self.vocab_size))
            async with aclosing(self._tokens(ids + more[:done], asked, key)) as stream:
                async for token in stream:
                    wanted, likeliest = more[len(scores)], dict(token.top)
                    if wanted not in likeliest:
                        least = min(likeliest.values(), default=0.0)
                        return [*scores, least, *[0.0] * (len(more) - len(scores) - 1)]
                    scores.append(likeliest[wanted])
                    if token.id != wanted:
                        break
        return scores


def connect(
    urls: Sequence[str],
    name: str,
    reading: Reading,
    *,
    key: str = "",
    context_length: int | None = None,
    timeout: float = 120,
    max_sequences: int = 8,
    queue: int = 64,
) -> RemoteEngine:
    """Ask the servers what they have, refuse what cannot be used, and start an engine over them. Blocks.

    The model is the one that they list under `name`, else the first they list; `context_length` is what it has where
    they do not say. A server that does not answer now may do so later, if another one answers. Raises
    EngineUnavailable when none does, and UnsupportedModel.
    """
    found: dict[str, Served] = {}
    missing: list[str] = []
    with httpx.Client(**options(key, timeout)) as client:
        for url in urls:
            try:
                found[url] = _survey(client, url, name, reading, context_length)
            except (httpx.TransportError, EngineUnavailable) as error:
                missing.append(f"{url} {words(error)}" if isinstance(error, httpx.TransportError) else str(error))
    if not found:
        raise EngineUnavailable("; ".join(missing))
    for why in missing:
        logger.warning("%s: left out until it answers", why)
    models = {served.model for served in found.values()}
    if len(models) > 1:
        raise UnsupportedModel(f"{', '.join(found)} have different models: {', '.join(sorted(models))}")
    context = min(served.context_length for served in found.values())
    served = Served(models.pop(), context, all(served.echoes for served in found.values()))
    logger.info("%s has %s, with a context of %d tokens", ", ".join(found), served.model, context)
    return RemoteEngine(Replicas(urls, key, timeout), served, reading.vocab_size, max_sequences, queue)


def _survey(client: httpx.Client, url: str, name: str, reading: Reading, context: int | None) -> Served:
    answer = client.get(f"{url}/v1/models")
    if answer.status_code in (401, 403):
        raise UnsupportedModel(f"{complaint(answer)}: set COGCORE_CORE_KEY to the key that it wants")
    cards: list[Mapping[str, Any]] = _told(answer).get("data") or []
    if not cards:
        raise EngineUnavailable(f"{complaint(answer)}: no models are listed there")
    card = next((card for card in cards if card["id"] == name), cards[0])
    model = str(card["id"])
    length = card.get("max_model_len") or _slot(client, url) or context
    if not length:
        raise UnsupportedModel(f"{url} does not say how long the context of {model} is, nor does the config of {name}")
    one = Sampling(max_tokens=1, top_logprobs=1)
    try:
        written, *_ = tokens(choice_of(_post(client, url, body(model, reading.ids, one, stream=False))), 1)
    except (RequestFailed, ValueError) as error:
        raise UnsupportedModel(
            f"{url} does not continue token ids, or does not tell those it writes, as newer vLLM, SGLang and llama.cpp "
            f"do: {error}"
        ) from error
    echoed = _post(client, url, body(model, reading.text, one, stream=False, echo=True, add_special_tokens=False))
    choice = choice_of(echoed) if echoed.is_success else {}
    read = choice.get("prompt_token_ids")
    # Some begin a text with a token of their own.
    if read and list(read[-len(reading.ids) :]) != list(reading.ids):
        raise UnsupportedModel(f"{url} has {model}, whose tokens are not those of {name}: name the same model for both")
    scores = (choice.get("logprobs") or {}).get("token_logprobs") or []
    echoes = len(scores) > len(reading.ids) and None not in scores[1:]
    if not (echoes or written.top):
        raise UnsupportedModel(f"{url} tells no log-probabilities by which it could be decided whether to search")
    return Served(model, int(length), echoes)


def _post(client: httpx.Client, url: str, asked: Mapping[str, Any]) -> httpx.Response:
    answer = client.post(f"{url}/v1/completions", json=asked)
    if answer.status_code in AWAY:
        raise EngineUnavailable(complaint(answer))
    return answer


def _slot(client: httpx.Client, url: str) -> int | None:
    """The context of one of llama.cpp's slots."""
    settings = _told(client.get(f"{url}/props")).get("default_generation_settings")
    return settings.get("n_ctx") if isinstance(settings, dict) else None


def _told(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if answer.is_success and isinstance(told, dict) else {}
