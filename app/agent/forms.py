"""What a round must be like where somebody wants JSON: the reply after `reply_schema`, and calls of strict functions.

Where either is asked, every call is held to its tool's name and form, and its arguments to their schema if the function
is strict. What the core or its engine cannot keep to is refused before the turn begins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from anyio import to_thread
from llguidance import LLMatcher

from app.agent.schema import ANY_OBJECT, Calls, Schema, SchemaMask, SchemaRefused, Thought, compiled
from app.agent.tools import ARGUMENT, SEARCH
from app.agent.turn import Turn, TurnRefused
from app.cores.load import Core

TAGS = "<tool_call>", "</tool_call>"
OPEN_OBJECT = '{"name": "'
NOTHING: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


class Forms:
    """Of one turn, whose core may call these tools."""

    def __init__(self, turn: Turn, core: Core, tools: Mapping[str, Mapping[str, Any]]) -> None:
        self.core, self.reply = core, turn.reply_schema
        self.tools = {name: _arguments(tool["function"]) for name, tool in tools.items()}
        # By their parameters in the request.
        self.strict = {
            f"tools[{n}].function": str(tool["function"]["name"])
            for n, tool in enumerate(turn.tools)
            if tool["function"].get("strict") and tool["function"]["name"] in tools
        }

    async def check(self) -> None:
        """Raises TurnRefused where a form that is asked for cannot be kept."""
        asked = "response_format" if self.reply is not None else next((f"{at}.strict" for at in self.strict), "")
        if not asked:
            return
        if not self.core.engine.masks:
            said = "is kept only by an engine on this machine: leave it out, or unset COGCORE_CORE_URL"
            raise TurnRefused(asked, f"'{asked}' {said}")
        if self.tools and (self.calls is None or (self.reply is not None and self.calls.tags is None)):
            said = "writes no calls that JSON can replace" if self.reply is not None else "writes its calls in no JSON"
            raise TurnRefused(asked, f"the core {self.core.name!r} {said}: leave out '{asked}' or serve another core")
        for at, name in self.strict.items():
            if self.tools[name].get("type") != "object":
                raise TurnRefused(f"{at}.parameters", f'the parameters of {name!r} must have the type "object"')
        try:
            await self._compiled(self.reply, self.calls)
        except SchemaRefused as error:
            field, refused = await self._wrong() or (asked, error)
            raise TurnRefused(field, f"this schema cannot be kept: {refused}") from error

    async def mask(self, given: Sequence[int], *, calls: bool = True) -> SchemaMask | None:
        """What holds a round to its form; `given` are ids that it begins with. Without `calls`, it is a reply."""
        if self.reply is None and not (calls and self.strict):
            return None
        grammar = await self._compiled(self.reply, self.calls if calls else None)
        return SchemaMask(grammar, len(self.core.tokenizer), given)

    @property
    def calls(self) -> Calls | None:
        """How this core writes calls of its tools, if its calls are JSON."""
        profile = self.core.profile
        opening = profile.search_opening.partition(SEARCH)[0]
        if self.tools and opening == OPEN_OBJECT:
            return Calls(self.tools, opening, profile.arguments_follow)
        before = opening.removeprefix(f"{TAGS[0]}\n")
        if self.tools and before == OPEN_OBJECT and self.core.tokenizer.get_added_vocab().keys() >= {*TAGS}:
            return Calls(self.tools, before, profile.arguments_follow, TAGS)
        return None

    async def _wrong(self) -> tuple[str, SchemaRefused] | None:
        """Which of the schemas is refused by itself."""
        theirs = [(f"{at}.parameters", self.tools[name]) for at, name in self.strict.items()]
        for field, schema in theirs if self.reply is None else [*theirs, ("response_format", self.reply)]:
            try:
                await self._compiled(schema)
            except SchemaRefused as error:
                return field, error
        return None

    async def _compiled(self, reply: Schema | None, calls: Calls | None = None) -> LLMatcher:
        tokenizer, profile, thought = self.core.tokenizer, self.core.profile, None
        if profile.decide_after:
            tags = tokenizer.get_added_vocab()
            thought = Thought(tags["<think>"], tags["</think>"], profile.decide_after.removeprefix("</think>"))
        return await to_thread.run_sync(compiled, tokenizer, reply, calls, thought)


def _arguments(function: Mapping[str, Any]) -> Schema:
    """The schema that a call's arguments are held to: for a client's function if it is strict."""
    if function["name"] in ARGUMENT:
        return {**function["parameters"], "additionalProperties": False}
    return (function.get("parameters") or NOTHING) if function.get("strict") else ANY_OBJECT
