"""/v1/vector_stores: searchable collections, and the search itself."""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field

from app.api.caller import Asking, SeenStore
from app.api.errors import ApiError
from app.api.limits import Filters, Only, Pairs, Strategy, Strict, checked
from app.api.listing import Paged, Wire, listing
from app.api.models import READER
from app.api.parts import Parts
from index.checks import MOST_HITS, MOST_NEIGHBOURS, check_attachment
from index.memory import Memory
from index.rank import DENSE_WEIGHT
from index.types import Attachment, Hit, Hits, StoreInfo

RESULTS = 10  # of a search that does not say how many


class ExpiresAfter(Strict):
    anchor: Literal["last_active_at"]
    days: int = checked(1, 365)


class NewStore(Strict):
    name: str | None = None
    description: str | None = None
    file_ids: list[str] | None = Field(default=None, max_length=500)
    chunking_strategy: Strategy = None
    expires_after: ExpiresAfter | None = None
    metadata: Pairs | None = None


class StoreChange(Strict):
    name: str | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Pairs | None = None


class HybridSearch(Strict):
    embedding_weight: float = Field(ge=0)
    text_weight: float = Field(ge=0)

    def dense_weight(self) -> float:
        """The embedding's share of both."""
        both = self.embedding_weight + self.text_weight
        if not both:
            raise ApiError(
                "One of embedding_weight and text_weight must be above 0.", param="ranking_options.hybrid_search"
            )
        return self.embedding_weight / both


class Ranking(Strict):
    """`ranker`: `none` leaves the fused order; the others are the memory's reader, where it has one."""

    ranker: Literal["none", "auto", "default-2024-11-15", "default_2024_08_21", "cogcore-reader"] = "auto"
    score_threshold: float = checked(0, 1, default=0.0)
    hybrid_search: HybridSearch | None = None

    def reranks(self, memory: Memory, here: str = "ranking_options") -> bool:
        """Raises ApiError where a reader is named and there is none."""
        if self.ranker == READER and memory.reader is None:
            raise ApiError(f"This server runs without a reader: leave out '{READER}'.", param=f"{here}.ranker")
        return self.ranker != "none"


class SearchExtension(Strict):
    """What OpenAI's words have no place for."""

    distinct: bool | None = Field(default=None, description="False: also hits that say the same as a better one.")
    neighbours: int = checked(
        0, MOST_NEIGHBOURS, default=0, description="Tokens of what stands around each hit in its section."
    )
    timeout: float | None = Field(default=None, description="Seconds after which the reader reads no more.")


def _queries(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class Search(Strict):
    query: Annotated[list[str], BeforeValidator(_queries, json_schema_input_type=str | list[str])]
    max_num_results: int | None = checked(1, MOST_HITS, default=None)
    filters: Filters | None = None
    ranking_options: Ranking | None = None
    cogcore: SearchExtension | None = None
    rewrite_query: Annotated[bool | None, Only(False, remedy="'rewrite_query' is not offered; leave it out")] = None


def store_object(store: StoreInfo) -> Wire:
    counts = {status: store.counts.get(status, 0) for status in ("in_progress", "completed", "failed", "cancelled")}
    days = store.expires_after_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created_at,
        "name": store.name,
        "description": store.description,
        "usage_bytes": store.usage_bytes,
        "file_counts": {**counts, "total": sum(counts.values())},
        "status": _status(store, counts["in_progress"]),
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": store.expires_at,
        "last_active_at": store.last_active_at,
        "metadata": dict(store.metadata),
        # Beside OpenAI's fields.
        "version": store.version,
        "aliases": list(store.aliases),
    }


def _status(store: StoreInfo, in_progress: int) -> str:
    if store.expires_at is not None and store.expires_at <= time.time():
        return "expired"
    return "in_progress" if in_progress else "completed"


def result(hit: Hit) -> Wire:
    """OpenAI's search result, and the passage's id, by which /v1/passages shows it; its place and what is around it."""
    chunk = hit.chunk
    return {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "score": hit.score,
        "attributes": dict(chunk.attributes),
        "content": [{"type": "text", "text": chunk.text}],
        "chunk_id": chunk.id,
        "cogcore": {
            "start": chunk.start,
            "end": chunk.end,
            "alike": hit.alike,
            "neighbours": [
                {"chunk_id": one.id, "start": one.start, "end": one.end, "text": one.text} for one in hit.neighbours
            ],
        },
    }


def routes(parts: Parts) -> APIRouter:
    router, memory = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"]), parts.memory

    @router.post("")
    def create(wanted: NewStore, caller: Asking) -> Wire:
        # Checked first: a store without its files would be left behind.
        attachments = [
            check_attachment(Attachment(caller.file(one), None, wanted.chunking_strategy))
            for one in wanted.file_ids or ()
        ]
        store = memory.create_store(
            wanted.name or "",
            wanted.metadata,
            wanted.description or "",
            wanted.expires_after.days if wanted.expires_after else None,
            caller.organisation,
        )
        if attachments:
            memory.attach_batch(store.id, attachments)
        return store_object(memory.store(store.id))

    @router.get("")
    def stores(caller: Asking, cut: Paged) -> Wire:
        return listing(memory.stores(cut.limit, cut.after, cut.before, cut.order, caller.sight), store_object)

    @router.get("/{store_id}")
    def store(store_id: SeenStore) -> Wire:
        return store_object(memory.store(store_id))

    @router.post("/{store_id}")
    def update(store_id: SeenStore, change: StoreChange) -> Wire:
        updated = memory.update_store(
            store_id,
            name=change.name,
            # null empties it, absence leaves it.
            metadata={} if "metadata" in change.model_fields_set and change.metadata is None else change.metadata,
            expires_after_days=change.expires_after.days if change.expires_after else None,
            never_expires="expires_after" in change.model_fields_set and change.expires_after is None,
        )
        return store_object(updated)

    @router.delete("/{store_id}")
    def delete(store_id: SeenStore, caller: Asking) -> Wire:
        found = memory.store(store_id)
        memory.delete_store(found.id)
        parts.core.engine.forget(caller.cache_keys(parts.secret))
        return {"id": found.id, "object": "vector_store.deleted", "deleted": True}

    @router.post("/{store_id}/search")
    def search(request: Request, store_id: SeenStore, wanted: Search) -> Wire:
        ranking, more = wanted.ranking_options or Ranking(), wanted.cogcore or SearchExtension()

        def found() -> Hits:
            return memory.search(
                store_id,
                wanted.query,
                RESULTS if wanted.max_num_results is None else wanted.max_num_results,
                wanted.filters,
                rerank=ranking.reranks(memory),
                threshold=ranking.score_threshold,
                dense_weight=ranking.hybrid_search.dense_weight() if ranking.hybrid_search else DENSE_WEIGHT,
                only_distinct=more.distinct,
                neighbours=more.neighbours,
                timeout=more.timeout,
            )

        hits = parts.traces.searched(wanted.query, found, request.headers)
        return {
            "object": "vector_store.search_results.page",
            "search_query": wanted.query,
            "data": [result(hit) for hit in hits],
            "has_more": False,
            "next_page": None,
            # Beside OpenAI's fields: what an alias meant.
            "vector_store_id": hits.store,
            "version": hits.version,
            "cogcore": {"complete": hits.complete},
        }

    return router
