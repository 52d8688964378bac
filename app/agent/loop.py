"""The turn: a conversation in, events out. Closing the stream of events cancels whatever runs.

A core that learned the loop takes its own road (app.agent.trained), and so does one that only reads what is looked up
for it (app.agent.reading). Any other is told of its tools by its chat template
and calls them in its own way: it decides to search by the same number, and budgets are kept here, not by advice.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from anyio import to_thread

from app.agent import confidence
from app.agent.citations import bare, named, shown, verify
from app.agent.events import Calculated, Decided, Event, ToolCall
from app.agent.forms import Forms
from app.agent.lookup import Lookups
from app.agent.parser import Call, Malformed
from app.agent.prompt import Excerpt, show
from app.agent.reading import ReadingTurn
from app.agent.rounds import Rounds
from app.agent.tools import ARGUMENT, CALCULATE, CALCULATOR, SEARCH, SEARCH_MEMORY, CalculationError, calculate
from app.agent.trained import TrainedTurn
from app.agent.turn import Message, Policy, Turn, TurnRefused
from app.cores.load import Core
from index.memory import Memory

__all__ = ["Policy", "Turn", "TurnRefused", "answer"]

SHORT = 12  # words up to which a reply is its own short answer
ANSWER_ROOM = 256  # tokens kept free for the answer when passages are shown
REPEATED = "You have searched for this already. Answer from the passages above, or say that you do not know."
SPENT = "No searches are left. Answer from the passages above, or say that you do not know."


async def answer(turn: Turn, core: Core, memory: Memory) -> AsyncGenerator[Event]:
    """Answer a turn. The last event is Done. Raises TurnRefused, EngineError and MemoryFault."""
    kind = TrainedTurn if core.profile.trained_loop else ReadingTurn if core.profile.reads else ToolTurn
    async with aclosing(kind(turn, core, memory).events()) as events:
        async for event in events:
            yield event


class ToolTurn:
    """The turn of a core that calls tools as its chat template shows them."""

    def __init__(self, turn: Turn, core: Core, memory: Memory) -> None:
        self.turn, self.core, self.memory = turn, core, memory
        self.rounds = Rounds(turn, core)
        self.lookups = Lookups(turn, memory)
        self.messages: list[Message] = [_readable(message) for message in turn.messages]
        self.excerpts: list[Excerpt] = []
        self.concluding = False
        theirs = {str(tool["function"]["name"]): tool for tool in turn.tools}
        ours = {CALCULATE: CALCULATOR, **({SEARCH: SEARCH_MEMORY} if self.lookups.left else {})}
        self.theirs = frozenset(theirs)
        self.tools: dict[str, Mapping[str, Any]] = {} if turn.policy.choice == "none" else {**ours, **theirs}
        # One id opens a call: forbidding it forbids calls. Where it takes several, calls are not run instead.
        opening = self.rounds.encode(core.profile.search_opening)[0]
        self._call_id = [opening] if opening in core.tokenizer.added_tokens_decoder else []
        self.forms = Forms(turn, core, self.tools)

    async def events(self) -> AsyncGenerator[Event]:
        rounds = self.rounds
        await self.forms.check()
        rounds.begin(rounds.renderer.start(self.messages, list(self.tools.values())))
        async with aclosing(self._decide()) as decided:
            async for event in decided:
                yield event
        for number in range(self.turn.policy.max_rounds):
            self.concluding |= number == self.turn.policy.max_rounds - 1 or not self.tools
            if not (rounds.over or rounds.ended):
                banned = self._call_id if self.concluding else ()
                mask = await self.forms.mask(rounds.generated, calls=not self.concluding)
                async with aclosing(rounds.write(mask, banned=banned)) as pieces:
                    async for piece in pieces:
                        yield piece
            for piece in rounds.finish():
                yield piece
            calls = [] if rounds.over or self.concluding else rounds.calls
            if not calls:
                break
            theirs = [call for call in calls if isinstance(call, Call) and call.name in self.theirs]
            if theirs:
                for piece in rounds.close():
                    yield piece
            async with aclosing(self._run([call for call in calls if call not in theirs])) as events:
                async for event in events:
                    yield event
            if theirs:
                for call in theirs if self.turn.policy.parallel else theirs[:1]:
                    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
                    yield ToolCall(f"call_{uuid.uuid4().hex[:24]}", call.name, arguments)
                yield rounds.done(confidence=confidence.worded(rounds.logprobs), finish_reason="tool_calls")
                return
            rounds.begin(self._prompt())
        async with aclosing(self._end()) as events:
            async for event in events:
                yield event

    async def _decide(self) -> AsyncGenerator[Event]:
        """The first decision point: thoughts, if they come first, then the need, and the call opened if so decided."""
        rounds, profile, policy = self.rounds, self.core.profile, self.turn.policy
        opening = self._opening()
        if profile.decide_after and self.tools:
            mask = await self.forms.mask(rounds.generated)
            async with aclosing(rounds.write(mask, until=self._thought)) as pieces:
                async for piece in pieces:
                    yield piece
            if rounds.over or (rounds.ended and not opening):
                return
            rounds.reopen()
        if SEARCH in self.tools:
            need = confidence.probability(await rounds.score(rounds.encode(profile.search_opening)))
            if not opening and policy.choice == "auto" and need >= policy.need_threshold:
                opening = profile.search_opening
            yield Decided(need, searches=bool(opening) and opening == profile.search_opening)
        if opening:
            for piece in rounds.force(rounds.encode(opening)):
                yield piece

    def _thought(self) -> bool:
        """Whether the core has come to its decision point."""
        return str(self.core.tokenizer.decode(self.rounds.ids[-8:])).endswith(self.core.profile.decide_after)

    def _opening(self) -> str:
        """The beginning of the call that the policy demands."""
        policy, opening = self.turn.policy, self.core.profile.search_opening
        if policy.function is not None and policy.function != SEARCH:
            if policy.function not in self.tools:
                raise TurnRefused("tool_choice", f"no tool is named {policy.function!r}")
            return opening.partition(SEARCH)[0] + policy.function + self.core.profile.arguments_follow
        if policy.function is None and policy.choice != "required":
            return ""
        if SEARCH in self.tools:
            return opening
        if policy.function is None and self.theirs:
            return opening.partition(SEARCH)[0]
        raise TurnRefused("tool_choice", "nothing can be searched: allow a search and name a store, or choose auto")

    async def _run(self, calls: Sequence[Call | Malformed]) -> AsyncGenerator[Event]:
        """Run the hosted tools that were called; what they say goes into the conversation."""
        self.messages.append(self.rounds.message())
        for call in calls:
            if isinstance(call, Malformed):
                self._tell("", f"This call could not be read: {call.reason}.")
            elif call.name not in self.tools:
                self._tell(call.name, f"There is no tool {call.name!r}. The tools are: {', '.join(self.tools)}.")
            elif not isinstance(text := call.arguments.get(ARGUMENT[call.name]), str) or not text.strip():
                self._tell(call.name, f"{call.name} needs the text argument {ARGUMENT[call.name]!r}.")
            elif call.name == CALCULATE:
                yield self._calculate(text)
            else:
                async with aclosing(self._search(text)) as events:
                    async for event in events:
                        yield event

    def _tell(self, name: str, text: str) -> None:
        self.messages.append({"role": "tool", "name": name, "content": text})

    def _calculate(self, expression: str) -> Calculated:
        try:
            done = Calculated(expression, calculate(expression))
        except CalculationError as error:
            done = Calculated(expression, f"error: {error}", ok=False)
        self._tell(CALCULATE, done.result)
        return done

    async def _search(self, query: str) -> AsyncGenerator[Event]:
        if self.lookups.repeats(query) or not self.lookups.left:
            self._tell(SEARCH, REPEATED if self.lookups.repeats(query) else SPENT)
            self.concluding = True
            return
        async with aclosing(self.lookups.search(query)) as searched:
            async for event in searched:
                yield event
        hits, first = self.lookups.hits, len(self.excerpts) + 1
        room = self.core.engine.context_length - ANSWER_ROOM
        while True:
            text, excerpts = show(hits, self.core.profile, first)
            self._tell(SEARCH, text)
            if not hits or len(self._prompt()) <= room:
                break
            self.messages.pop()
            hits = hits[:-1]
        self.excerpts.extend(excerpts)

    def _prompt(self) -> list[int]:
        return self.rounds.renderer.extend(self.messages, list(self.tools.values()), self.rounds.ids)

    async def _end(self) -> AsyncGenerator[Event]:
        """Verify what the reply cites, show each quote once, and close the turn."""
        rounds, supported, quoted = self.rounds, False, set[tuple[str, int, int]]()
        for piece in rounds.close():
            yield piece
        reply = rounds.reply
        for support in named(reply, self.excerpts):
            cited = await to_thread.run_sync(verify, self.memory, support, abandon_on_cancel=True)
            if cited is None:
                continue
            supported = True
            yield cited
            if cited.place not in quoted and self.turn.reply_schema is None:
                quoted.add(cited.place)
                for piece in rounds.say(shown(cited)):
                    yield piece
        for piece in rounds.close():
            yield piece
        sure = confidence.worded(rounds.logprobs)
        short = bare(reply)
        yield rounds.done(
            answer=short if 0 < len(short.split()) <= SHORT else None,
            confidence=confidence.unsupported(sure) if self.lookups.count and not supported else sure,
        )


def _readable(message: Message) -> Message:
    """Chat templates take the arguments of earlier calls as objects; OpenAI's messages hold them as JSON text."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_with_object(call) for call in calls]} if calls else message


def _with_object(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except (TypeError, ValueError):
        return call
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else call
