"""The rounds of one turn: what the core is shown, what it writes, what of it is visible, and what that costs.

Append only: every id shown or written stays, so that the next round reuses its KV.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from app.agent import confidence
from app.agent.events import Done, FinishReason, Round, Text, Thinking
from app.agent.mask import GrammarMask, Vocabulary, vocabulary_of
from app.agent.parser import Call, Malformed, Piece, ReplyParser, Stops
from app.agent.prompt import Renderer
from app.agent.turn import Turn
from app.cores.grammar import Grammar
from app.cores.load import Core
from app.engine.types import Mask, PromptTooLong, Scored, Token, Whose

FORBIDDEN = -100.0
BETWEEN_ROUNDS = 5.0  # seconds that a round's KV is kept for the next one: a tool call is quicker, mostly


class Rounds:
    """One turn's passes through the engine. `reply` is the visible text so far, as it was shown."""

    def __init__(self, turn: Turn, core: Core) -> None:
        self.turn, self.core = turn, core
        self.renderer = Renderer(core.tokenizer, core.profile)
        self.ids: list[int] = []
        self.prompt_length = 0
        self.passes: list[Round] = []
        self.written = self.reasoning = 0
        self.tokens: list[Token] = []  # of the round under way
        self.logprobs: list[float] = []  # of the visible text's tokens
        self.reply = ""
        self.cut_short = False
        self._stops = Stops(turn.stop)
        self._gap = ""
        self._begun = False
        self._cached: int | None = None  # of the round's prompt, if it was scored before it was continued
        self._unread: list[Token] = []  # may come out of the parser as text
        self._unshown: list[Token] = []  # of text that has not been shown
        self._parser: ReplyParser | None = None
        self._said: list[Piece] = []

    @property
    def parser(self) -> ReplyParser:
        if self._parser is None:
            raise RuntimeError("no round has begun")
        return self._parser

    @property
    def stopped(self) -> bool:
        """Whether one of the turn's stop strings has ended the reply."""
        return self._stops.hit

    @property
    def over(self) -> bool:
        """Whether nothing more may be written."""
        return self.stopped or self.cut_short

    @property
    def ended(self) -> bool:
        """Whether the core has ended the round."""
        return bool(self.tokens) and self.tokens[-1].finish == "stop"

    @property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.core.tokenizer)

    def reopen(self) -> None:
        """Take back the end of a round that must go on."""
        if self.ended:
            self.ids.pop()
            self.tokens.pop()

    @property
    def left(self) -> int:
        """How many tokens may still be written."""
        room = self.core.engine.context_length - len(self.ids)
        return max(min(self.turn.sampling.max_tokens - self.written, room), 0)

    @property
    def _whose(self) -> Whose:
        return replace(self.turn.whose, begun=self._begun)

    def encode(self, text: str) -> list[int]:
        return list(self.core.tokenizer.encode(text, add_special_tokens=False))

    def begin(self, prompt: Sequence[int]) -> None:
        """Show the core a prompt; what it writes next is parsed from there."""
        self.ids = list(prompt)
        self.prompt_length = len(self.ids)
        self.tokens, self._said, self._unread, self._cached = [], [], [], None
        prefix = str(self.core.tokenizer.decode(self.ids, skip_special_tokens=False))
        self._parser = ReplyParser(self.core.tokenizer, self.core.profile, prefix, self.turn.tools)
        self._gap = "\n\n" if self.reply else ""

    @property
    def generated(self) -> list[int]:
        """The ids after the prompt: forced and written."""
        return self.ids[self.prompt_length :]

    async def score(self, continuation: Sequence[int]) -> Sequence[float]:
        """Log-probabilities of what the core might say next. What this prefills, the round need not."""
        return (await self._scored(continuation)).logprobs

    async def chances(self, openings: Sequence[Sequence[int]]) -> list[float]:
        """How probably the core says each of these next: they differ in their last id alone, and take one pass."""
        scored = await self._scored(openings[0], [opening[-1] for opening in openings])
        return [confidence.probability([*scored.logprobs[:-1], last]) for last in scored.instead]

    async def _scored(self, continuation: Sequence[int], instead: Sequence[int] = ()) -> Scored:
        scored = await self.core.engine.score(self.ids, continuation, instead=instead, whose=self._whose)
        self._begun = True
        if self._cached is None:
            self._cached = scored.cached
        return scored

    def force(self, ids: Sequence[int]) -> list[Piece]:
        """Put words into the core's mouth: they are parsed and shown as if it had written them."""
        self.ids.extend(ids)
        return [shown for number in ids for piece in self.parser.feed(number) for shown in self._show(piece)]

    async def write(
        self,
        mask: Mask | None = None,
        *,
        banned: Sequence[int] = (),
        until: Callable[[], bool] | None = None,
    ) -> AsyncGenerator[Piece]:
        """One pass of the core: pieces as they come. Ends at the end token, a stop string, a limit, or `until`."""
        async with aclosing(self.tokens_of(mask, banned=banned)) as stream:
            async for token in stream:
                for piece in self.read(token):
                    yield piece
                if self.stopped or (until and until()):
                    return

    async def write_under(self, allowed: Grammar, given: Sequence[int] = ()) -> AsyncGenerator[Piece]:
        """The rest of a round under a grammar, of which `given` is written, and its end."""
        async with aclosing(self.write(GrammarMask(allowed, self.vocabulary, given))) as pieces:
            async for piece in pieces:
                yield piece
        for piece in self.finish():
            yield piece

    async def tokens_of(self, mask: Mask | None = None, *, banned: Sequence[int] = ()) -> AsyncGenerator[Token]:
        """The tokens of one pass, counted but not yet read. Raises PromptTooLong when the first has no room."""
        if not self.left:
            if not self.passes and len(self.ids) >= self.core.engine.context_length:
                raise PromptTooLong(len(self.ids), self.core.engine.context_length)
            self.cut_short = True
            return
        sampling = replace(
            self.turn.sampling,
            max_tokens=self.left,
            stop_ids=self.turn.sampling.stop_ids | self.core.ends,
            logit_bias=(*self.turn.sampling.logit_bias, *((number, FORBIDDEN) for number in banned)),
            keep=BETWEEN_ROUNDS,
            mask=mask,
        )
        prompt, cached, count = len(self.ids), 0, 0
        try:
            async with aclosing(self.core.engine.generate(self.ids, sampling, whose=self._whose)) as stream:
                async for token in stream:
                    cached, count = token.cached if self._cached is None else self._cached, count + 1
                    self.written += 1
                    yield token
        finally:
            self.passes.append(Round(prompt, cached, count))
            self._begun = True

    def read(self, token: Token) -> list[Piece]:
        """Take a token into the conversation, and what it adds to thoughts and reply."""
        self.ids.append(token.id)
        self.tokens.append(token)
        self.cut_short = token.finish == "length"
        if token.finish == "stop":
            return []
        was_thinking = self.parser.thinking
        pieces = self.parser.feed(token.id)
        self.reasoning += was_thinking or self.parser.thinking
        self._unread.append(token)
        if any(isinstance(piece, Text) for piece in pieces):
            self.logprobs.append(token.logprob)
        elif not self.parser.held:
            self._unread.clear()
        return [shown for piece in pieces for shown in self._show(piece)]

    def take(self, tokens: Sequence[Token]) -> Iterator[Piece]:
        """Read a pass that was held back, up to a stop string, and end the round's parse."""
        for token in tokens:
            yield from self.read(token)
            if self.stopped:
                break
        yield from self.finish()

    def finish(self) -> list[Piece]:
        """End the round's parse; afterwards `calls` is complete."""
        return [shown for piece in self.parser.finish() for shown in self._show(piece)]

    @property
    def calls(self) -> list[Call | Malformed]:
        return self.parser.calls

    def message(self) -> dict[str, Any]:
        """The finished round as an assistant message, for the chat template."""
        said = {kind: "".join(p.text for p in self._said if isinstance(p, kind)) for kind in (Thinking, Text)}
        unread = [c.text for c in self.calls if isinstance(c, Malformed)]
        message: dict[str, Any] = {"role": "assistant", "content": "\n".join([said[Text], *unread]).strip()}
        if said[Thinking]:
            message["reasoning_content"] = said[Thinking]
        calls = [c for c in self.calls if isinstance(c, Call)]
        if calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": dict(c.arguments)}} for c in calls
            ]
        return message

    def say(self, text: str) -> list[Piece]:
        """Put the server's own words into the reply. Stop strings hold for them too."""
        return self._visible(text)

    def close(self) -> list[Piece]:
        """Show what was held back for a stop string that did not come."""
        return self._text(self._stops.finish())

    def done(
        self,
        *,
        confidence: float,
        answer: str | None = None,
        abstained: bool = False,
        finish_reason: FinishReason | None = None,
    ) -> Done:
        """The turn's last event."""
        reason: FinishReason = finish_reason or ("length" if self.cut_short and not self.stopped else "stop")
        return Done(reason, answer, confidence, abstained, self.reasoning, tuple(self.passes))

    def _show(self, piece: Piece) -> list[Piece]:
        self._said.append(piece)
        if isinstance(piece, Thinking):
            return [piece]
        text, self._gap = self._gap + piece.text, ""
        self._unshown += self._unread
        self._unread.clear()
        return self._visible(text)

    def _visible(self, text: str) -> list[Piece]:
        return self._text(self._stops.feed(text))

    def _text(self, shown: str) -> list[Piece]:
        if not shown:
            return []
        self.reply += shown
        tokens, self._unshown = tuple(self._unshown), []
        return [Text(shown, tokens)]
