"""A validated chat request as the turn that the loop answers: names looked up, defaults of core and settings filled."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.agent.turn import Choice, Policy, Turn
from app.api.chat_request import NAMED, ChatRequest, Extension
from app.api.errors import ApiError
from app.api.messages import check_order, check_tools
from app.api.models import store_of
from app.api.parts import Parts
from app.calibration import Calibration
from app.cores.profile import Profile
from index.errors import AmbiguousName, StoreNotFound
from index.filters import compile_filter
from index.memory import Memory
from index.types import StoreInfo


async def turn_of(wanted: ChatRequest, parts: Parts, key: str) -> Turn:
    """The turn; cached prompts it shares with those of the same `key`. Raises ApiError and InvalidRequest."""
    check_order(wanted.messages)
    given = wanted.cogcore or Extension()
    if given.filters is not None:
        # Now, while it can still be a 400: the search comes in the middle of the answer.
        compile_filter(given.filters, "cogcore.filters")
    found = await asyncio.to_thread(_stores, parts.memory, wanted.model, given.stores)
    stores = [store.id for store in found]
    calibrations = await asyncio.to_thread(_calibrations, parts, stores)
    policy = _policy(wanted, given, parts, calibrations)
    check_tools(wanted.tools or (), policy.function)
    return Turn(
        messages=[message.plain() for message in wanted.messages],
        tools=[tool.model_dump(exclude_none=True) for tool in wanted.tools or ()],
        stores=stores,
        policy=policy,
        sampling=replace(
            wanted.sampling(_most(wanted, parts.core.profile), parts.core.profile), top_logprobs=_likeliest(wanted)
        ),
        stop=wanted.stop or (),
        reply_schema=wanted.reply_schema,
        key=key,
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


def _policy(wanted: ChatRequest, given: Extension, parts: Parts, calibrations: Sequence[Calibration]) -> Policy:
    """Of several calibrated stores with thresholds of their own the highest counts; the request's goes before all."""
    if given.need_threshold is not None and parts.core.profile.reads:
        raise ApiError(
            f"The core {parts.core.name!r} does not decide whether to search, so it has no need. "
            "Leave out 'need_threshold', or choose by 'tool_choice'.",
            param="cogcore.need_threshold",
        )
    own = [c.abstain_below for c in calibrations if c.abstain_below is not None]
    settings, choice = parts.settings, wanted.tool_choice or "auto"
    mode: Choice = "none" if choice == "none" else "auto" if choice == "auto" else "required"
    return Policy(
        choice=mode,
        function=choice.removeprefix(NAMED) if choice.startswith(NAMED) else None,
        parallel=wanted.parallel_tool_calls is not False,
        max_searches=settings.max_searches if given.max_searches is None else given.max_searches,
        filters=given.filters,
        need_threshold=settings.need_threshold if given.need_threshold is None else given.need_threshold,
        abstain_below=max(own, default=settings.abstain_below) if given.abstain_below is None else given.abstain_below,
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


def _stores(memory: Memory, model: str, named: list[str] | None) -> list[StoreInfo]:
    """The stores to search: those of the extension, else the one of the model's name.

    Looked up here and never again: an alias that moves meanwhile does not move this turn.
    """
    own = store_of(memory, model)
    if named is None:
        return [own]
    found: dict[str, StoreInfo] = {}
    for n, name in enumerate(named):
        try:
            store = memory.store(name)
            found[store.id] = store
        except (AmbiguousName, StoreNotFound) as error:
            status = 404 if isinstance(error, StoreNotFound) else 400
            raise ApiError(f"{error}.", param=f"cogcore.stores[{n}]", status=status) from error
    return list(found.values())
