"""A validated chat request as the turn that the loop answers: names looked up, defaults of core and settings filled."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.agent.turn import Choice, Policy, Turn
from app.api.caller import Caller
from app.api.chat_request import NAMED, ChatRequest, Extension
from app.api.errors import ApiError
from app.api.messages import check_names, check_order
from app.api.models import MODEL, store_of
from app.api.parts import Parts
from app.calibration import Calibration
from app.cores.profile import Profile
from index.errors import AmbiguousName, StoreNotFound
from index.filters import compile_filter
from index.types import StoreInfo

Named = tuple[str, str]
"""A store's id, name or alias, and the parameter that names it."""


async def turn_of(wanted: ChatRequest, parts: Parts, caller: Caller) -> Turn:
    """The turn, over stores that the caller sees. Raises ApiError and InvalidRequest."""
    check_order(wanted.messages)
    given = wanted.cogcore or Extension()
    if given.filters is not None:
        # Now, while it can still be a 400: the search comes in the middle of the answer.
        compile_filter(given.filters, "cogcore.filters")
    policy = policy_of(wanted.tool_choice, wanted.parallel_tool_calls, given, parts)
    tools = wanted.tools or ()
    check_names([(t.function.name, f"tools[{n}].function.name") for n, t in enumerate(tools)], policy.function)
    turn = Turn(
        messages=[message.plain() for message in wanted.messages],
        tools=[tool.model_dump(exclude_none=True) for tool in tools],
        policy=policy,
        sampling=replace(
            wanted.sampling(_most(wanted, parts.core.profile), parts.core), top_logprobs=_likeliest(wanted)
        ),
        stop=wanted.stop or (),
        reply_schema=wanted.reply_schema,
        whose=caller.whose(parts.secret, wanted.prompt_cache_key or ""),
    )
    return await grounded(turn, parts, caller, wanted.model, named_in(given), given.abstain_below)


def named_in(given: Extension) -> list[Named] | None:
    """The stores that the extension names."""
    if given.stores is None:
        return None
    return [(name, f"cogcore.stores[{n}]") for n, name in enumerate(given.stores)]


async def grounded(
    turn: Turn,
    parts: Parts,
    caller: Caller,
    model: str,
    named: Sequence[Named] | None,
    abstain_below: float | None,
) -> Turn:
    """The turn over the stores that are named, else over the model's own, as far as the caller sees them.

    What is asked of confidence goes before what they say of it. Of several calibrated stores with thresholds of their
    own the highest counts.
    """
    found = await asyncio.to_thread(_stores, caller, model, named)
    stores = [store.id for store in found]
    calibrations = await asyncio.to_thread(_calibrations, parts, stores)
    own = [c.abstain_below for c in calibrations if c.abstain_below is not None]
    least = max(own, default=parts.settings.abstain_below) if abstain_below is None else abstain_below
    return replace(
        turn,
        stores=stores,
        policy=replace(turn.policy, abstain_below=least),
        calibrations=calibrations,
        versions={store.id: store.version for store in found},
    )


def abreast_of(turn: Turn, n: int) -> list[Turn]:
    """`n` turns that differ in their seeds only: the first answers as it would alone."""
    seed = turn.sampling.seed
    seeds = [None] * n if seed is None else [seed ^ number for number in range(n)]
    return [replace(turn, sampling=replace(turn.sampling, seed=one)) for one in seeds]


def _calibrations(parts: Parts, stores: Sequence[str]) -> tuple[Calibration, ...]:
    """Of the stores. Cores that judge no passages are sure of their words; which weights run elsewhere is not known."""
    judges = parts.core.profile.judges and not parts.settings.core_url
    return parts.calibrations.of(stores) if judges else ()


def policy_of(chosen: str | None, parallel: bool | None, given: Extension, parts: Parts) -> Policy:
    """The request's, else the server's. `chosen` is a mode, or a function after NAMED."""
    if given.need_threshold is not None and parts.core.profile.reads:
        raise ApiError(
            f"The core {parts.core.name!r} does not decide whether to search, so it has no need. "
            "Leave out 'need_threshold', or choose by 'tool_choice'.",
            param="cogcore.need_threshold",
        )
    settings, choice = parts.settings, chosen or "auto"
    mode: Choice = "none" if choice == "none" else "auto" if choice == "auto" else "required"
    return Policy(
        choice=mode,
        function=choice.removeprefix(NAMED) if choice.startswith(NAMED) else None,
        parallel=parallel is not False,
        max_searches=settings.max_searches if given.max_searches is None else given.max_searches,
        filters=given.filters,
        need_threshold=settings.need_threshold if given.need_threshold is None else given.need_threshold,
    )


def _most(wanted: ChatRequest, profile: Profile) -> int:
    most = wanted.max_completion_tokens or wanted.max_tokens
    if wanted.max_tokens and most != wanted.max_tokens:
        raise ApiError("max_tokens and max_completion_tokens differ. Send one of them.", param="max_tokens")
    return most or profile.max_tokens


def _likeliest(wanted: ChatRequest) -> int:
    if wanted.top_logprobs and not wanted.logprobs:
        raise ApiError("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return wanted.top_logprobs or 0


def _stores(caller: Caller, model: str, named: Sequence[Named] | None) -> list[StoreInfo]:
    """Looked up here and never again: an alias that moves meanwhile does not move this turn."""
    if named is None or model != MODEL:  # who names the stores needs no default store
        own = store_of(caller.memory, model, caller.sight)
        if named is None:
            return [own]
    found: dict[str, StoreInfo] = {}
    for name, param in named:
        try:
            store = caller.memory.store(name, caller.sight)
            found[store.id] = store
        except (AmbiguousName, StoreNotFound) as error:
            status = 404 if isinstance(error, StoreNotFound) else 400
            raise ApiError(f"{error}.", param=param, status=status) from error
    return list(found.values())
