"""The turn of a core that learned the loop: it writes only what its grammar allows, and numbers decide.

Round one looks up, calculates or talks, by the need. Round two answers with a span of one passage and its verified
quote, or says that it does not know, by the confidence. Without support there is no claim: a turn that must look up and
may not, or that finds nothing, abstains.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from anyio import to_thread

from app.agent import confidence
from app.agent.citations import MARKER, Support, sentence_at, shown, verify
from app.agent.events import Calculated, Decided, Event
from app.agent.lookup import Lookups
from app.agent.mask import WORD, GrammarMask, Path, vocabulary_of
from app.agent.parser import Call, Piece
from app.agent.prompt import Excerpt, show
from app.agent.rounds import Rounds
from app.agent.tools import CALCULATE, SEARCH, CalculationError, calculate
from app.agent.turn import Message, Turn, TurnRefused
from app.cores import grammar
from app.cores.grammar import Grammar
from app.cores.load import Core
from index.memory import Memory

Plan = Literal["search", "calculate", "talk", "either", "abstain"]


@dataclass(slots=True)
class Verdict:
    """What judging came to. `path` is the answer's place in the grammar, None when the core abstained or was cut."""

    confidence: float = 0.0
    abstained: bool = False
    path: Path | None = None


class TrainedTurn:
    """One turn, from its prompt to Done."""

    def __init__(self, turn: Turn, core: Core, memory: Memory) -> None:
        if turn.tools:
            raise TurnRefused(
                "tools", f"the core {core.name!r} cannot call your functions: leave out 'tools' or serve another core"
            )
        self.turn, self.memory = turn, memory
        self.rounds = Rounds(turn, core)
        self.lookups = Lookups(turn, memory)
        self.vocabulary = vocabulary_of(core.tokenizer)
        self.messages: list[Message] = list(turn.messages)
        self.user = next((str(m["content"]) for m in reversed(turn.messages) if m["role"] == "user"), "")
        if turn.policy.choice == "required" and turn.policy.function is None and not self._searches:
            raise TurnRefused("tool_choice", "nothing can be searched: allow a search and name a store, or choose auto")

    async def events(self) -> AsyncGenerator[Event]:
        rounds = self.rounds
        rounds.begin(rounds.renderer.start(self.messages))
        need = confidence.probability(await rounds.score(rounds.encode(grammar.SEARCH)))
        plan = self._plan(need)
        yield Decided(need, searches=plan == "search")
        async with aclosing(self._first(plan)) as pieces:
            async for piece in pieces:
                yield piece
        calls = [] if rounds.over else rounds.calls
        async with aclosing(self._second(plan, calls)) as events:
            async for event in events:
                yield event

    @property
    def _calculates(self) -> bool:
        opening = self.rounds.encode(grammar.CALCULATE)
        return self.rounds.generated[: len(opening)] == opening

    @property
    def _searches(self) -> bool:
        return self.lookups.left > 0 and bool(WORD.search(self.user))

    def _plan(self, need: float) -> Plan:
        policy = self.turn.policy
        if policy.function == CALCULATE:
            return "calculate"
        if policy.choice == "required" or policy.function == SEARCH:
            return "search" if self._searches else "abstain"
        if need >= policy.need_threshold:
            return "search" if self._searches and policy.choice == "auto" else "abstain"
        return "talk" if policy.choice == "none" else "either"

    async def _first(self, plan: Plan) -> AsyncGenerator[Piece]:
        """Round one: the search or calculation that was decided is begun for the core."""
        opening = {"search": grammar.SEARCH, "calculate": grammar.CALCULATE}.get(plan, "")
        given = self.rounds.encode(opening) if opening else []
        for piece in self.rounds.force(given):
            yield piece
        async with aclosing(self._write(self._allowed(plan), given)) as pieces:
            async for piece in pieces:
                yield piece

    def _allowed(self, plan: Plan) -> Grammar:
        """What round one may be."""
        match plan:
            case "search":
                past = [str(m["content"]) for m in self.rounds.renderer.past(self.messages)]
                return grammar.first_round(self.user, past, others=False)
            case "abstain":
                return grammar.judge((), found=False)
            case "calculate":
                return grammar.calculation(self.user)
            case "talk":
                return grammar.talk()
            case "either":
                return grammar.first_round(self.user, search=False)

    async def _write(self, allowed: Grammar, given: Sequence[int] = ()) -> AsyncGenerator[Piece]:
        """The rest of a round under a grammar."""
        async with aclosing(self.rounds.write(GrammarMask(allowed, self.vocabulary, given))) as pieces:
            async for piece in pieces:
                yield piece
        for piece in self.rounds.finish():
            yield piece

    async def _second(self, plan: Plan, calls: Sequence[object]) -> AsyncGenerator[Event]:
        """What round one was to ask for, and the answer from it. A call that stands in free talk is not run."""
        match plan, calls:
            case "search", [Call("search_memory", {"query": str(query)})]:
                events: AsyncGenerator[Event] = self._read(query)
            case "calculate" | "either", [Call("calculate", {"expression": str(expression)})] if self._calculates:
                events = self._calculate(expression)
            case _:
                talk = confidence.worded(self.rounds.logprobs)
                events = self._done(Verdict(0.0, True) if plan == "abstain" else Verdict(talk))
        async with aclosing(events):
            async for event in events:
                yield event

    async def _read(self, query: str) -> AsyncGenerator[Event]:
        async with aclosing(self.lookups.search(query)) as searched:
            async for search in searched:
                yield search
        excerpts = self._show()
        verdict = Verdict()
        async with aclosing(self._judge(excerpts, verdict)) as pieces:
            async for piece in pieces:
                yield piece
        answer = None
        if verdict.path is not None:
            excerpt, start, end = _place(verdict.path, excerpts)
            answer = excerpt.text[start:end]
            for piece in self.rounds.close():
                yield piece
            if marker := _last_marker(self.rounds.reply):
                place = sentence_at(excerpt.hit.chunk, *excerpt.locate(start, end))
                cited = await to_thread.run_sync(verify, self.memory, Support(excerpt.hit, *place, *marker))
                if cited:
                    yield cited
                    for piece in self.rounds.say(shown(cited)):
                        yield piece
        async for event in self._done(verdict, answer):
            yield event

    def _show(self) -> list[Excerpt]:
        """Append the passages found to the conversation: all that fit. Those without a word cannot be quoted."""
        rounds, hits = self.rounds, self.lookups.hits
        before, ids = [*self.messages, rounds.message()], rounds.ids
        room = rounds.core.engine.context_length - ANSWER_ROOM
        while True:
            text, excerpts = show(hits, rounds.core.profile)
            prompt = rounds.renderer.extend([*before, _result(SEARCH, text)], (), ids)
            if len(prompt) <= room or not hits:
                break
            hits = hits[:-1]
        rounds.begin(prompt)
        return excerpts

    async def _judge(self, excerpts: Sequence[Excerpt], verdict: Verdict) -> AsyncGenerator[Piece]:
        """Round two: an answer if the confidence in it is enough, else none."""
        rounds = self.rounds
        texts = [excerpt.text for excerpt in excerpts]
        if any(map(WORD.search, texts)):
            opening = confidence.absent_opening(rounds.core.tokenizer)
            absent = confidence.probability(await rounds.score(opening))
            mask = GrammarMask(grammar.judge(texts, absent=False), self.vocabulary)
            prompt, passage, held = rounds.ids, PassageChosen(), list[Piece]()
            async with aclosing(rounds.tokens_of(mask)) as tokens:
                async for token in tokens:
                    held.extend(rounds.read(token))
                    chosen = passage.feed(self.vocabulary.bytes.get(token.id, b""), token.logprob)
                    if chosen is None:
                        continue
                    told = confidence.found(absent, chosen, excerpts[passage.number - 1].hit)
                    verdict.confidence = self.turn.calibrated(told)
                    if verdict.confidence < self.turn.policy.abstain_below:
                        break
                    for piece in held:
                        yield piece
                    held.clear()
                    if rounds.stopped:
                        break
            if rounds.over or passage.probability is None or verdict.confidence >= self.turn.policy.abstain_below:
                for piece in rounds.finish():
                    yield piece
                verdict.path = _nearest(mask.paths(rounds.generated), excerpts)
                return
            rounds.begin(prompt[: rounds.prompt_length])
        verdict.abstained = True
        async with aclosing(self._write(grammar.judge((), found=False))) as pieces:
            async for piece in pieces:
                yield piece

    async def _calculate(self, expression: str) -> AsyncGenerator[Event]:
        try:
            result = calculate(expression)
        except CalculationError as error:
            yield Calculated(expression, str(error), ok=False)
            # The core knows no words for a sum that has no result.
            for piece in self.rounds.say(f"I could not calculate this: {error}."):
                yield piece
            async for event in self._done(Verdict()):
                yield event
            return
        yield Calculated(expression, result)
        rounds = self.rounds
        sure = confidence.worded([token.logprob for token in rounds.tokens])
        after = [*self.messages, rounds.message(), _result(CALCULATE, result)]
        rounds.begin(rounds.renderer.extend(after, (), rounds.ids))
        async with aclosing(self._write(grammar.conclude(result))) as pieces:
            async for piece in pieces:
                yield piece
        async for event in self._done(Verdict(sure), result):
            yield event

    async def _done(self, verdict: Verdict, answer: str | None = None) -> AsyncGenerator[Event]:
        for piece in self.rounds.close():
            yield piece
        yield self.rounds.done(answer=answer, confidence=verdict.confidence, abstained=verdict.abstained)


class PassageChosen:
    """Reads off the tokens of an answer which passage it takes, and with what probability."""

    def __init__(self) -> None:
        self._before = len(grammar.FOUND.partition("{0}")[0].encode())
        self._written = b""
        self._tokens: list[tuple[int, int, float]] = []
        self.probability: float | None = None
        self.number = 0

    def feed(self, token: bytes, logprob: float) -> float | None:
        """The probability of the passage's number, once it is written in full."""
        if self.probability is None:
            at = len(self._written)
            self._written += token
            self._tokens.append((at, len(self._written), logprob))
            end = self._written.find(b"]", self._before)
            if end >= 0:
                number = [p for start, stop, p in self._tokens if start < end and stop > self._before]
                self.probability = confidence.probability(number)
                self.number = int(self._written[self._before : end])
        return self.probability


ANSWER_ROOM = 96
"""Tokens kept free for the answer when passages are shown."""


def _result(name: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "name": name, "content": text}


def _place(path: Path, excerpts: Sequence[Excerpt]) -> tuple[Excerpt, int, int]:
    (span,) = path.spans
    return excerpts[path.alternative], span.start, span.end


def _nearest(paths: Sequence[Path], excerpts: Sequence[Excerpt]) -> Path | None:
    """Where the same words stand more than once, those nearest to the reader's mark are meant."""

    def distance(path: Path) -> int:
        excerpt, start, _ = _place(path, excerpts)
        mark = excerpt.hit.mark
        return abs(excerpt.starts[start] - mark.start) if mark else 0

    return min(paths, key=distance, default=None)


def _last_marker(reply: str) -> tuple[int, int] | None:
    found = list(MARKER.finditer(reply))
    return found[-1].span() if found else None
