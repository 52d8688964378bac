"""The turn of a core that learned the loop: it writes only what its grammar allows, and numbers decide.

Round one looks up, calculates or talks, by the need. Round two answers with a span of one passage and its verified
quote (and with what another says instead), searches on from a passage that only leads to the answer or once more in
other words, calculates with what a passage gives, or says that it does not know, by the confidence.
Without support there is no claim: a turn that must look up and may not, or that finds nothing, abstains.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

from app.agent import confidence
from app.agent.citations import cite, near_miss
from app.agent.events import Calculated, Decided, Event
from app.agent.judging import Judging
from app.agent.lookup import Lookups
from app.agent.mask import WORD
from app.agent.parser import Call, Piece
from app.agent.prompt import Excerpt, show
from app.agent.rounds import Rounds
from app.agent.tools import CALCULATE, SEARCH, CalculationError, calculate
from app.agent.turn import Message, Turn, TurnRefused, refuse_forms
from app.agent.verdict import Verdict
from app.cores import grammar
from app.cores.grammar import Grammar
from app.cores.load import Core
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
        self.messages: list[Message] = list(turn.messages)
        self.user = turn.question
        past = self.rounds.renderer.past(turn.messages) if core.profile.follow_ups else []
        self.past = [str(message["content"]) for message in past]  # whose words a query may take, too
        self.judging = Judging(turn, self.rounds, self.lookups, self.past)
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
        async with aclosing(self.rounds.write_under(self._allowed(plan), given)) as pieces:
            async for piece in pieces:
                yield piece

    def _allowed(self, plan: Plan) -> Grammar:
        """What round one may be."""
        match plan:
            case "search":
                return grammar.first_round(self.user, self.past, others=False)
            case "abstain":
                return grammar.judge((), found=False)
            case "calculate":
                return grammar.calculation(self.user)
            case "talk":
                return grammar.talk()
            case "either":
                return grammar.first_round(self.user, search=False)

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
            async with aclosing(self.judging.decide(excerpts, verdict)) as pieces:
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
        async with aclosing(rounds.write_under(grammar.conclude(result, *passages))) as pieces:
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
