"""Model names: `cogcore` answers from the store of the alias `default`, `cogcore/<store or alias>` from that one.

Beside them, not for chats: the memory's embedder by its own name, and its reader.
"""

import time
from collections import Counter

from fastapi import APIRouter

from app.api.caller import Asking
from app.api.errors import ApiError, closest
from app.api.listing import Wire, everything
from app.api.parts import Parts
from index.errors import AmbiguousName, StoreNotFound
from index.memory import DEFAULT_STORE, Memory
from index.types import Sight, StoreInfo

MODEL = "cogcore"
READER = "cogcore-reader"


def store_of(memory: Memory, model: str, sight: Sight | None) -> StoreInfo:
    """The store that a model name means. Raises ApiError when it means none, or two."""
    root, _, store = model.partition("/")
    try:
        if root == MODEL and (store or model == MODEL):
            return memory.store(store or DEFAULT_STORE, sight)
    except AmbiguousName as error:
        raise ApiError(f"The model '{model}' is ambiguous: {error}.", param="model", code="ambiguous_name") from error
    except StoreNotFound:
        pass
    known = list(models_of(memory, sight))
    wrong = "answers no chats" if model in beside(memory) else "does not exist"
    raise ApiError(
        f"The model '{model}' {wrong}.{closest(model, known)} GET /v1/models lists all: stores and aliases.",
        param="model",
        code="model_not_found",
        status=404,
    )


def models_of(memory: Memory, sight: Sight | None) -> dict[str, int]:
    """Every model name, and when its store was made. Each alias is one, and each store: by its name, or by its id where
    that name is not its alone. An alias is in the list whatever moves meanwhile.
    """
    aliases, stores = memory.aliases.all(sight), everything(memory, sight)
    held, made = Counter(store.name for store in stores), {store.id: store.created_at for store in stores}
    aliased = {f"{MODEL}/{alias.name}": made.get(alias.store_id, alias.moved_at) for alias in aliases}
    named = {f"{MODEL}/{s.name if s.name and held[s.name] == 1 else s.id}": s.created_at for s in stores}
    default = aliased.get(f"{MODEL}/{DEFAULT_STORE}")
    return {**({} if default is None else {MODEL: default}), **aliased, **named}


def beside(memory: Memory) -> dict[str, int | None]:
    """The models of /v1/embeddings and /v1/rerank, and how many tokens of a text they read; None: any number."""
    return {memory.embedder.name: memory.embedder.window, **({READER: None} if memory.reader else {})}


def routes(parts: Parts) -> APIRouter:
    router, memory, engine = APIRouter(prefix="/v1/models", tags=["models"]), parts.memory, parts.core.engine
    began = int(time.time())  # the same for whoever asks

    def _wire(name: str, created: int, length: int | None) -> Wire:
        about = {"id": name, "object": "model", "created": created, "owned_by": MODEL}
        # As vLLM and SGLang tell it: how many tokens a conversation may have.
        return {**about, "max_model_len": length}

    @router.get("")
    def models(caller: Asking) -> Wire:
        chats = models_of(memory, caller.sight)
        data = [_wire(name, created, engine.context_length) for name, created in chats.items()]
        data += [_wire(name, began, length) for name, length in beside(memory).items()]
        return {"object": "list", "data": data}

    @router.get("/{model:path}")
    def model(model: str, caller: Asking) -> Wire:
        others = beside(memory)
        if model in others:
            return _wire(model, began, others[model])
        return _wire(model, store_of(memory, model, caller.sight).created_at, engine.context_length)

    return router
