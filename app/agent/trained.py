"""The turn of a core that learned the loop: it writes only what its grammar allows, and numbers decide.

Round one looks up, calculates or talks, by the need. Round two answers with a span of one passage and its verified
quote (and with what another says instead), searches on from a passage that only leads to the answer, calculates with
what a passage gives, or says that it does not know, by the confidence.
Without support there is no claim: a turn that must look up and may not, or that finds nothing, abstains.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal

from app.agent import confidence
from app.agent.citations import cite, near_miss
from app.agent.events import Calculated, Decided, Event
from app.agent.expression import numbers
from app.agent.lookup import Lookups
from app.agent.mask import WORD, GrammarMask, vocabulary_of
from app.agent.parser import Call, Piece
from app.agent.prompt import Excerpt, show
from app.agent.rounds import Rounds
from app.agent.tools import CALCULATE, SEARCH, CalculationError, calculate
from app.agent.turn import Message, Turn, TurnRefused, refuse_forms
from app.agent.verdict import PassageChosen, Place, SumWritten, Verdict, differing, given_by, led_by, nearest
from app.cores import grammar
from app.cores.grammar import Grammar
from app.cores.load import Core
from app.engine.types import Token
from index.memory import Memory

Plan = Literal["search", "calculate", "talk", "either", "abstain"]
ANSWER_ROOM = 96  # tokens kept free for the answer when passages are shown


class TrainedTurn:
    """One turn, from its prompt to Done."""

    def __init__(self, turn: Turn, core: Core, memory: Memory) -> None:
        refuse_forms(turn, core.name)
        self.turn, self.memory = turn, memory
        self.rounds = Rounds(turn, core)
        self.lookups = Lookups(turn, memory)
        self.vocabulary = vocabulary_of(core.tokenizer)
        self.messages: list[Message] = list(turn.messages)
        self.user = turn.question
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

    @property
    def _past(self) -> list[str]:
        """Earlier messages whose words a query may take."""
        renderer = self.rounds.renderer
        return [str(m["content"]) for m in renderer.past(self.turn.messages)] if renderer.profile.follow_ups else []

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
                return grammar.first_round(self.user, self._past, others=False)
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
                sure = confidence.worded([token.logprob for token in self.rounds.tokens])
                events = self._calculate(expression, Verdict(sure))
            case _:
                talk = confidence.worded(self.rounds.logprobs)
                events = self._done(Verdict(0.0, True) if plan == "abstain" else Verdict(talk))
        async with aclosing(events):
            async for event in events:
                yield event

    async def _read(self, query: str) -> AsyncGenerator[Event]:
        """Search and judge, again where a passage leads on, and answer with the quotes of all that it took."""
        verdict, first = Verdict(query=query), 1
        while verdict.query:
            async with aclosing(self.lookups.search(verdict.query)) as searched:
                async for search in searched:
                    yield search
            verdict.query, verdict.confidence = "", 0.0
            excerpts = self._show(first)
            first += len(excerpts)
            async with aclosing(self._judge(excerpts, verdict)) as pieces:
                async for piece in pieces:
                    yield piece
        if verdict.expression:
            events = self._calculate(verdict.expression, verdict)
        elif verdict.answer is None:
            events = self._unknown(verdict)
        else:
            excerpt, start, end = verdict.answer
            events = self._cited(verdict, excerpt.text[start:end])
        async with aclosing(events):
            async for event in events:
                yield event

    async def _cited(self, verdict: Verdict, answer: str) -> AsyncGenerator[Event]:
        """The quotes of all that the answer leans on, and the end."""
        async with aclosing(cite(self.rounds, self.memory, verdict.places)) as cited:
            async for event in cited:
                yield event
        async for event in self._done(verdict, answer):
            yield event

    def _show(self, first: int) -> list[Excerpt]:
        """Append the passages found to the conversation: all that fit. Those without a word cannot be quoted."""
        rounds, hits = self.rounds, self.lookups.hits
        self.messages.append(rounds.message())
        ids = rounds.ids
        room = rounds.core.engine.context_length - ANSWER_ROOM
        while True:
            text, excerpts = show(hits, rounds.core.profile, first)
            result = _result(SEARCH, text)
            prompt = rounds.renderer.extend([*self.messages, result], (), ids)
            if len(prompt) <= room or not hits:
                break
            hits = hits[:-1]
        self.messages.append(result)
        rounds.begin(prompt)
        return excerpts

    async def _judge(self, excerpts: Sequence[Excerpt], verdict: Verdict) -> AsyncGenerator[Piece]:
        """The likeliest verdict if the confidence in it is enough, else that no passage answers."""
        rounds, prompt = self.rounds, list(self.rounds.ids)
        if any(WORD.search(excerpt.text) for excerpt in excerpts):
            profile = rounds.core.profile
            absent = await self._chance(grammar.ABSENT)
            leads = await self._chance(grammar.LEADS) if profile.hops > 1 else 0.0
            reckons = await self._chance(grammar.RECKONS) if profile.reckons else 0.0
            again = await self._chance(grammar.AGAIN) if profile.rephrases else 0.0
            none = absent + leads + reckons + again
            if again > max(absent, leads, reckons, 1 - none) and self.lookups.count == 1:
                attempts = [self._again(verdict)]
            elif leads > max(reckons, 1 - none) and len(verdict.via) < profile.hops - 1:
                attempts = [self._lead(excerpts, leads, verdict)]
            elif reckons > 1 - none:
                attempts = [self._reckon(excerpts, reckons, verdict)]
                if not numbers(self.user):  # with nothing to calculate with, the number as it stands may be the answer
                    found = await self._chance(grammar.FOUND)
                    none = 1 - found / (found + absent + leads) if found else 1.0
                    attempts.append(self._answer(excerpts, none, verdict))
            else:
                attempts = [self._answer(excerpts, none, verdict)]
            for attempt in attempts:
                async with aclosing(attempt) as pieces:
                    async for piece in pieces:
                        yield piece
                if rounds.over or verdict.answer or verdict.query:
                    return
                rounds.begin(prompt)
        verdict.abstained = True
        async with aclosing(self._write(grammar.judge((), found=False))) as pieces:
            async for piece in pieces:
                yield piece

    async def _chance(self, verdict: str) -> float:
        opening = confidence.opening(self.rounds.core.tokenizer, verdict)
        return confidence.probability(await self.rounds.score(opening))

    async def _answer(self, excerpts: Sequence[Excerpt], none: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Answer with words of a passage: those that the core writes, or those that the reader marked."""
        texts, via = [excerpt.text for excerpt in excerpts], [excerpt.number for excerpt, _, _ in verdict.via]
        differ = differing(excerpts) if self.rounds.core.profile.differs and not via else []
        allowed = grammar.judge(texts, first=excerpts[0].number, via=via, differ=differ, absent=False)
        mask, passage = GrammarMask(allowed, self.vocabulary), PassageChosen(grammar.FOUND)

        def sure(chosen: float) -> float:
            hit = excerpts[passage.number - excerpts[0].number].hit
            return self.turn.calibrated(confidence.found(none, chosen, hit, verdict.led))

        tokens = await self._attempt(mask, passage, sure, verdict)
        match nearest(mask.paths([token.id for token in tokens]), excerpts, differ):
            case [place]:
                tokens = await self._likelier(tokens, place, via, mask)
        for piece in self.rounds.take(tokens):
            yield piece
        match nearest(mask.paths(self.rounds.generated), excerpts, differ):
            case [answer, *others]:
                verdict.answer, verdict.other = answer, next(iter(others), None)

    async def _likelier(self, tokens: list[Token], place: Place, via: Sequence[int], mask: GrammarMask) -> list[Token]:
        """The answer as it was written, or with the reader's words from the same passage, whichever core and reader
        together hold likelier: written word for word, an answer can come to an end that the core does not believe in.
        """
        excerpt, start, end = place
        mark, words = excerpt.hit.mark, excerpt.text[slice(*excerpt.marked)].strip()
        answer = grammar.answer(words, excerpt.number, via)
        ids = [number for literal in answer for number in self.vocabulary.encode(literal.text)]
        differs = words != excerpt.text[start:end] and bool(mask.paths(ids))
        if mark is None or not differs or len(ids) >= self.rounds.left:
            return tokens
        written = sum(token.logprob for token in tokens if token.id != self.vocabulary.end)
        if not confidence.likelier(sum(await self.rounds.score(ids)) - written, mark.probability):
            return tokens
        async with aclosing(self.rounds.tokens_of(GrammarMask((answer,), self.vocabulary))) as again:
            return [token async for token in again]

    async def _reckon(self, excerpts: Sequence[Excerpt], reckons: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Calculate with a number of a passage. What the reader makes of it says little: the answer is not in it."""
        allowed = grammar.reckon(self.user, [excerpt.text for excerpt in excerpts], excerpts[0].number)
        mask, passage = GrammarMask(allowed, self.vocabulary), SumWritten()

        def sure(chosen: float) -> float:
            return self.turn.calibrated(confidence.led(verdict.led, reckons, chosen))

        for piece in self.rounds.take(await self._attempt(mask, passage, sure, verdict)):
            yield piece
        unsure = verdict.confidence < self.turn.policy.abstain_below
        match [] if self.rounds.over or unsure else self.rounds.calls:
            case [Call("calculate", {"expression": str(expression)})]:
                verdict.answer = given_by(excerpts[passage.number - excerpts[0].number], expression, self.user)
                if verdict.answer:
                    verdict.expression = expression
                else:
                    verdict.confidence = 0.0  # nothing that the passage gives stands in the sum

    async def _lead(self, excerpts: Sequence[Excerpt], leads: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Search on, with words of a passage; not for what was searched for before."""
        if not self.lookups.left:
            return
        allowed = grammar.lead(self.user, [excerpt.text for excerpt in excerpts], excerpts[0].number)
        mask, passage, before = GrammarMask(allowed, self.vocabulary), PassageChosen(grammar.LEADS), verdict.led

        def sure(chosen: float) -> float:
            verdict.led = confidence.led(before, leads, chosen)
            return self.turn.calibrated(verdict.led)

        for piece in self.rounds.take(await self._attempt(mask, passage, sure, verdict)):
            yield piece
        match [] if self.rounds.over else self.rounds.calls:
            case [Call("search_memory", {"query": str(query)})] if not self.lookups.repeats(query):
                path = mask.paths(self.rounds.generated)[0]
                verdict.via.append(led_by(path, excerpts[passage.number - excerpts[0].number]))
                verdict.query = query
            case _:
                verdict.confidence = 0.0  # it was sure of the lead, and nothing came of that

    async def _again(self, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Search once more, for what the first query should have been."""
        if not self.lookups.left:
            return
        async with aclosing(self._write(grammar.again(self.user, self._past))) as pieces:
            async for piece in pieces:
                yield piece
        match [] if self.rounds.over else self.rounds.calls:
            case [Call("search_memory", {"query": str(query)})] if not self.lookups.repeats(query):
                verdict.query = query

    async def _attempt(
        self, mask: GrammarMask, passage: PassageChosen, sure: Callable[[float], float], verdict: Verdict
    ) -> list[Token]:
        """A verdict that names its passage, not yet read; nothing where it is not sure enough."""
        held = list[Token]()
        async with aclosing(self.rounds.tokens_of(mask)) as tokens:
            async for token in tokens:
                held.append(token)
                chosen = passage.feed(self.vocabulary.bytes.get(token.id, b""), token.logprob)
                if chosen is not None:
                    verdict.confidence = sure(chosen)
                    if verdict.confidence < self.turn.policy.abstain_below:
                        return []
        return held

    async def _unknown(self, verdict: Verdict) -> AsyncGenerator[Event]:
        """What was found, under a reply that does not know; and the end."""
        for piece in self.rounds.close():
            yield piece
        for piece in self.rounds.say(near_miss(self.lookups.hits)) if verdict.abstained else ():
            yield piece
        async for event in self._done(verdict):
            yield event

    async def _calculate(self, expression: str, verdict: Verdict) -> AsyncGenerator[Event]:
        """What a sum comes to, with the passages that gave its numbers."""
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
        after = [*self.messages, rounds.message(), _result(CALCULATE, result)]
        rounds.begin(rounds.renderer.extend(after, (), rounds.ids))
        passages = [excerpt.number for excerpt, _, _ in verdict.places]
        async with aclosing(self._write(grammar.conclude(result, *passages))) as pieces:
            async for piece in pieces:
                yield piece
        async with aclosing(self._cited(verdict, result)) as events:
            async for event in events:
                yield event

    async def _done(self, verdict: Verdict, answer: str | None = None) -> AsyncGenerator[Event]:
        for piece in self.rounds.close():
            yield piece
        yield self.rounds.done(answer=answer, confidence=verdict.confidence, abstained=verdict.abstained)


def _result(name: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "name": name, "content": text}
