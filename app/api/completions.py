"""POST /v1/completions: the core alone, without memory, tools or chat template. How another Cogcore uses this one.

A prompt is sampled as the core's profile says where the request says nothing. `text` leaves special tokens out,
`logprobs` and `token_ids` do not. Of an echoed prompt's tokens the log-probability is told, not what was likelier.
"""

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request, Response

from app.agent.parser import Detokenizer, Stops
from app.api.caller import Asking
from app.api.completion_request import CompletionRequest
from app.api.errors import TABLE, ApiError
from app.api.hangup import ClientGone, EventStream, after, unless_gone
from app.api.models import MODEL
from app.api.parts import Parts
from app.api.wire import frames, whole_json
from app.cores.load import Core
from app.engine.prompt import known_ids
from app.engine.types import InvalidPrompt, PromptTooLong, Whose

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One token of the completion. `text` is what it adds; what may belong to a stop string comes later."""

    id: int
    logprob: float | None  # None: nothing stands before it, or nobody asked
    text: str
    top: Sequence[tuple[int, float]] = ()
    finish: str | None = None
    cached: int = 0
    echoed: bool = False


def routes(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/v1/completions", tags=["completions"])

    @router.post("")
    async def complete(request: Request, wanted: CompletionRequest, caller: Asking) -> Response:
        """The core's continuation of a prompt, whole or streamed: no memory is asked, no tool is called."""
        if wanted.model != MODEL:
            said = f"The model '{wanted.model}' completes no prompts: '{MODEL}' does, and no store is read."
            raise ApiError(said, param="model", code="model_not_found", status=404)
        prompt = prompt_of(wanted, parts.core)
        whose = caller.whose(parts.secret, wanted.cache_salt)
        reply, made = Reply(wanted, prompt, parts.core), steps(wanted, prompt, caller.quota.metered(parts.core), whose)
        try:
            if wanted.stream:
                # Refusals come with the first step, while a status can still be chosen.
                first = await unless_gone(request, anext(made))
                return EventStream(frames(reply.chunks(after(first, made)), reply.id), made)
            return whole_json(await unless_gone(request, reply.whole(made)))
        except ClientGone:
            return Response(status_code=499)
        except (InvalidPrompt, PromptTooLong) as error:
            raise ApiError(f"{error}.", param="prompt", code=TABLE[type(error)].code) from error

    return router


def prompt_of(wanted: CompletionRequest, core: Core) -> list[int]:
    """The prompt's ids. Raises ApiError when nothing would be answered."""
    if not (wanted.max_tokens or wanted.echo):
        raise ApiError("'max_tokens' must be at least 1 where nothing is echoed.", param="max_tokens")
    if isinstance(wanted.prompt, str):
        return list(core.tokenizer.encode(wanted.prompt, add_special_tokens=wanted.add_special_tokens))
    return wanted.prompt


async def steps(wanted: CompletionRequest, prompt: list[int], core: Core, whose: Whose) -> AsyncGenerator[Step]:
    """The prompt's tokens, if they are to be echoed, then the core's. The last one has `finish`."""
    sampling = replace(
        wanted.sampling(wanted.max_tokens, core),
        stop_ids=core.ends | frozenset(wanted.stop_token_ids),
        top_logprobs=wanted.logprobs or 0,
    )
    special = frozenset(n for n, token in core.tokenizer.added_tokens_decoder.items() if token.special)
    words, stops = Detokenizer(core.tokenizer, special), Stops(wanted.stop or ())
    scored = wanted.echo and wanted.logprobs is not None and len(prompt) > 1
    if wanted.echo:
        last = len(prompt) - 1 if not wanted.max_tokens else None
        for place, (id_, logprob) in enumerate(await _echoed(prompt, core, whose, scored)):
            yield Step(id_, logprob, words.feed(id_), finish="length" if place == last else None, echoed=True)
        if not wanted.max_tokens:
            return
    async with aclosing(core.engine.generate(prompt, sampling, whose=replace(whose, begun=scored))) as tokens:
        async for token in tokens:
            text = "" if token.finish == "stop" else stops.feed(words.feed(token.id))
            finish = "stop" if stops.hit else token.finish
            text += stops.finish() if finish else ""
            yield Step(token.id, token.logprob, text, token.top, finish, token.cached)
            if finish:
                return


async def _echoed(prompt: list[int], core: Core, whose: Whose, scored: bool) -> list[tuple[int, float | None]]:
    known_ids("prompt", prompt, core.engine.vocab_size)
    scores: list[float | None] = [None] * len(prompt)
    if scored:
        scores[1:] = (await core.engine.score(prompt[:1], prompt[1:], whose=whose)).logprobs
    return list(zip(prompt, scores, strict=True))


class Reply:
    """Steps to OpenAI's shape: `whole` and `chunks` are two folds of the same steps."""

    def __init__(self, wanted: CompletionRequest, prompt: list[int], core: Core) -> None:
        self.wanted, self.prompt, self.tokenizer = wanted, prompt, core.tokenizer
        self.id, self.created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self.taken = self.generated = self.cached = self.offset = 0

    async def whole(self, made: AsyncGenerator[Step]) -> Wire:
        """The completion as one body."""
        async with aclosing(made):
            taken = [step async for step in made]
        return {**self._wire(self._choice(taken)), "usage": self._usage()}

    async def chunks(self, made: AsyncGenerator[Step]) -> AsyncGenerator[Wire]:
        """The completion token by token."""
        empty = {"usage": None} if self.wanted.include_usage else {}
        async for step in made:
            yield {**self._wire(self._choice([step])), **empty}
        if self.wanted.include_usage:
            yield {**self._wire(), "usage": self._usage()}

    def _wire(self, *choices: Wire) -> Wire:
        about = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.wanted.model}
        return {**about, "system_fingerprint": None, "choices": list(choices)}

    def _choice(self, taken: Sequence[Step]) -> Wire:
        choice: Wire = {"index": 0, "text": "".join(step.text for step in taken), "finish_reason": taken[-1].finish}
        choice["logprobs"] = None if self.wanted.logprobs is None else self._logprobs(taken)
        generated = [step.id for step in taken if not step.echoed]
        if self.wanted.return_token_ids:
            choice["prompt_token_ids"] = None if self.taken else self.prompt
            choice["token_ids"] = generated
        self.taken += len(taken)
        self.generated += len(generated)
        self.cached = taken[-1].cached
        return choice

    def _logprobs(self, taken: Sequence[Step]) -> Wire:
        offsets = []
        for step in taken:
            offsets.append(self.offset)
            self.offset += len(step.text)
        # As OpenAI does, the token itself is always among the likeliest.
        tops = [
            None if s.logprob is None else {self._name(n): logprob for n, logprob in (*s.top, (s.id, s.logprob))}
            for s in taken
        ]
        return {
            "tokens": [self._name(step.id) for step in taken],
            "token_logprobs": [step.logprob for step in taken],
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def _name(self, number: int) -> str:
        return f"token_id:{number}" if self.wanted.return_tokens_as_token_ids else str(self.tokenizer.decode([number]))

    def _usage(self) -> Wire:
        return {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": self.generated,
            "total_tokens": len(self.prompt) + self.generated,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
