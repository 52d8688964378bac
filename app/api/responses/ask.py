"""A validated request as the turn that the loop answers, and what the response repeats of it."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from app.agent.events import Event
from app.agent.turn import Policy, Turn, TurnRefused
from app.api.caller import Caller
from app.api.chat_request import Extension
from app.api.errors import ApiError, describe
from app.api.ledger import Wire
from app.api.messages import check_names
from app.api.models import MODEL
from app.api.parts import Parts
from app.api.responses.input import conversation
from app.api.responses.past import Past
from app.api.responses.request import FileSearch, Format, FunctionTool, ResponseRequest
from app.api.turn import Named, grounded, named_in, policy_of
from app.engine.types import InvalidPrompt, PromptTooLong
from index.checks import check_share
from index.filters import compile_filter
from index.memory import Memory

# The loop's complaints name the fields of a chat.
OURS = {"messages": "input", "response_format": "text.format"}
CHATS_FUNCTION = re.compile(r"tools\[(\d+)\]\.function\.(\w+)")


async def turn_of(wanted: ResponseRequest, past: Past, parts: Parts, caller: Caller) -> Turn:
    """The turn, over stores that the caller sees. Raises ApiError and InvalidRequest."""
    messages = conversation([*past.before, *past.input], len(past.before))
    if wanted.instructions:
        messages = [{"role": "system", "content": wanted.instructions}, *messages]
    given = wanted.cogcore or Extension()
    policy, named = _policy(wanted, given, parts), _named(wanted, given)
    check_names([(tool.name, f"tools[{n}].name") for n, tool in wanted.functions], policy.function)
    if wanted.top_logprobs and not wanted.includes("message.output_text.logprobs"):
        raise ApiError("'top_logprobs' needs 'include': [\"message.output_text.logprobs\"].", param="top_logprobs")
    sampling = wanted.sampling(wanted.max_output_tokens or parts.core.profile.max_tokens, parts.core)
    turn = Turn(
        messages=messages,
        tools=[_function(tool) for _, tool in wanted.functions],
        policy=policy,
        sampling=replace(sampling, top_logprobs=wanted.top_logprobs or 0),
        stop=wanted.stop or (),
        reply_schema=wanted.reply_schema,
        whose=caller.whose(parts.secret, wanted.prompt_cache_key or ""),
    )
    turn = await grounded(turn, parts, caller, wanted.model, named, given.abstain_below)
    if wanted.tool_choice == {"type": "file_search"} and not (turn.stores and policy.max_searches):
        raise ApiError("tool_choice asks for a search, and there is nothing to search.", param="tool_choice")
    return turn


def about(wanted: ResponseRequest, turn: Turn) -> Wire:
    """What the response repeats of its request, with what was taken where nothing was asked."""
    sampling = turn.sampling
    return {
        "model": wanted.model,
        "instructions": wanted.instructions,
        "previous_response_id": wanted.previous_response_id,
        **({"conversation": {"id": wanted.conversation}} if wanted.conversation else {}),
        "background": bool(wanted.background),
        "store": wanted.store,
        "tools": [_echo(tool, turn) for tool in wanted.tools or ()],
        "tool_choice": wanted.tool_choice or "auto",
        "parallel_tool_calls": turn.policy.parallel,
        "max_tool_calls": wanted.max_tool_calls,
        "max_output_tokens": wanted.max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "top_logprobs": sampling.top_logprobs,
        "text": {"format": _format(wanted.text.format)},
        "reasoning": {"effort": None, "summary": wanted.reasoning.summary if wanted.reasoning else None},
        "truncation": "disabled",
        "service_tier": "default",
        "metadata": wanted.metadata or {},
        "safety_identifier": wanted.safety_identifier,
        "prompt_cache_key": wanted.prompt_cache_key,
        "user": wanted.user,
    }


async def in_our_words(events: AsyncGenerator[Event], wanted: ResponseRequest) -> AsyncGenerator[Event]:
    """The events; what is refused is told by the names that a request for a response has."""

    def place(tool: re.Match[str]) -> str:
        """A chat has functions only, and names them within."""
        return f"tools[{wanted.functions[int(tool[1])][0]}].{tool[2]}"

    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except (TurnRefused, PromptTooLong, InvalidPrompt) as error:
        message, row, _ = describe(error)
        param = CHATS_FUNCTION.sub(place, OURS.get(row.param or "", row.param or "")) or None
        told = message.replace(f"'{row.param}'", f"'{param}'")
        raise ApiError(told, param=param, code=row.code, status=row.status) from error


def _named(wanted: ResponseRequest, given: Extension) -> Sequence[Named] | None:
    """The stores to search, None for the model's own. Nothing is searched unless a store is attached: by the tool
    file_search, by the extension, or by a model's name that holds one.
    """
    if wanted.searches:
        n, tool = wanted.searches[0]
        ids = tool.vector_store_ids
        return None if ids is None else [(name, f"tools[{n}].vector_store_ids[{i}]") for i, name in enumerate(ids)]
    return named_in(given) or (() if wanted.model == MODEL else None)


def _policy(wanted: ResponseRequest, given: Extension, parts: Parts) -> Policy:
    if given.filters is not None:
        # Now, while it can still be a 400: the search comes in the middle of the answer.
        compile_filter(given.filters, "cogcore.filters")
    policy = policy_of(wanted.chosen, wanted.parallel_tool_calls, given, parts)
    if wanted.max_tool_calls is not None:
        policy = replace(policy, max_searches=min(policy.max_searches, wanted.max_tool_calls))
    for place, (n, tool) in enumerate(wanted.searches):
        if place or given.stores is not None or given.filters is not None:
            raise ApiError(
                "What is searched is named once: by one tool file_search, or by 'cogcore'.", param=f"tools[{n}]"
            )
        policy = _searching(policy, tool, f"tools[{n}]", parts.memory)
    return policy


def _searching(policy: Policy, tool: FileSearch, here: str, memory: Memory) -> Policy:
    """The policy with the tool's filters and ranking."""
    if tool.filters is not None:
        compile_filter(tool.filters, f"{here}.filters")
    ranking = tool.ranking_options
    check_share(f"{here}.ranking_options.score_threshold", ranking.score_threshold)
    return replace(
        policy,
        hits=tool.max_num_results or policy.hits,
        filters=tool.filters,
        rerank=ranking.reranks(memory, f"{here}.ranking_options"),
        score_threshold=ranking.score_threshold,
        dense_weight=ranking.hybrid_search.dense_weight() if ranking.hybrid_search else policy.dense_weight,
    )


def _function(tool: FunctionTool) -> dict[str, Any]:
    """As chat templates are told of it."""
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _format(wanted: Format) -> Wire:
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    return {**wanted.model_dump(by_alias=True), "strict": True}


def _echo(tool: FunctionTool | FileSearch, turn: Turn) -> Wire:
    if isinstance(tool, FunctionTool):
        return {**tool.model_dump(), "strict": bool(tool.strict)}
    ranking = tool.ranking_options.model_dump(exclude_none=True)
    policy = turn.policy
    return {
        "type": "file_search",
        "vector_store_ids": tool.vector_store_ids or list(turn.stores),
        "max_num_results": policy.hits,
        "filters": tool.filters,
        "ranking_options": ranking,
    }
