"""Model names: `cogcore` answers from the store of the alias `default`, `cogcore/<store or alias>` from that one."""

from collections import Counter

from fastapi import APIRouter

from app.api.errors import ApiError, closest
from app.api.listing import Wire
from app.api.parts import Parts
from index.errors import AmbiguousName, StoreNotFound
from index.memory import DEFAULT_STORE, Memory
from index.types import StoreInfo

MODEL = "cogcore"


def store_of(memory: Memory, model: str) -> StoreInfo:
    """The store that a model name means. Raises ApiError when it means none, or two."""
    root, _, store = model.partition("/")
    try:
        if root == MODEL and (store or model == MODEL):
            return memory.store(store or DEFAULT_STORE)
    except AmbiguousName as error:
        raise ApiError(f"The model '{model}' is ambiguous: {error}.", param="model", code="ambiguous_name") from error
    except StoreNotFound:
        pass
    known = list(models_of(memory))
    raise ApiError(
        f"The model '{model}' does not exist.{closest(model, known)} GET /v1/models lists all: stores and aliases.",
        param="model",
        code="model_not_found",
        status=404,
    )


def everything(memory: Memory) -> list[StoreInfo]:
    """All stores, oldest first."""
    stores: list[StoreInfo] = []
    while True:
        found = memory.stores(limit=100, order="asc", after=stores[-1].id if stores else None)
        stores.extend(found.data)
        if not found.has_more:
            return stores


def models_of(memory: Memory) -> dict[str, int]:
    """Every model name, and when its store was made. Each alias is one, and each store: by its name, or by its id where
    that name is not its alone. An alias is in the list whatever moves meanwhile.
    """
    aliases, stores = memory.aliases.all(), everything(memory)
    held, made = Counter(store.name for store in stores), {store.id: store.created_at for store in stores}
    aliased = {f"{MODEL}/{alias.name}": made.get(alias.store_id, alias.moved_at) for alias in aliases}
    named = {f"{MODEL}/{s.name if s.name and held[s.name] == 1 else s.id}": s.created_at for s in stores}
    return {MODEL: aliased[f"{MODEL}/{DEFAULT_STORE}"], **aliased, **named}


def routes(parts: Parts) -> APIRouter:
    router, memory, engine = APIRouter(prefix="/v1/models", tags=["models"]), parts.memory, parts.core.engine

    def _wire(name: str, created: int) -> Wire:
        about = {"id": name, "object": "model", "created": created, "owned_by": MODEL}
        # As vLLM and SGLang tell it: how many tokens a conversation may have.
        return {**about, "max_model_len": engine.context_length}

    @router.get("")
    def models() -> Wire:
        return {"object": "list", "data": [_wire(name, created) for name, created in models_of(memory).items()]}

    @router.get("/{model:path}")
    def model(model: str) -> Wire:
        return _wire(model, store_of(memory, model).created_at)

    return router
