"""/v1/vector_stores/{id}/files and /file_batches: which documents a store holds, and how far each one is."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.caller import Asking, Caller, SeenStore
from app.api.errors import ApiError
from app.api.limits import Pairs, Strategy, Strict
from app.api.listing import Paged, Wire, listing
from app.api.parts import Parts
from app.api.wire import POLL_MS
from index.facets.documents import LARGEST_BATCH
from index.types import Attachment, Batch, FileStatus, StoreFile

Filter = Annotated[FileStatus | None, Query(alias="filter")]


class Extras(Strict):
    replaces: tuple[str, ...] = Field(default=(), strict=False)  # JSON has lists


class NewFile(Strict):
    file_id: str
    attributes: Pairs | None = None
    chunking_strategy: Strategy = None
    cogcore: Extras | None = None

    def attachment(self, caller: Caller) -> Attachment:
        replaces = [caller.file(one) for one in self.cogcore.replaces] if self.cogcore else []
        return Attachment(caller.file(self.file_id), self.attributes, self.chunking_strategy, replaces)


class AttributesChange(Strict):
    attributes: Pairs | None


class NewBatch(Strict):
    file_ids: list[str] | None = Field(default=None, min_length=1, max_length=LARGEST_BATCH)
    files: list[NewFile] | None = Field(default=None, min_length=1, max_length=LARGEST_BATCH)
    attributes: Pairs | None = None
    chunking_strategy: Strategy = None

    def attachments(self, caller: Caller) -> list[Attachment]:
        if (self.file_ids is None) == (self.files is None):
            raise ApiError("Send either 'file_ids' or 'files'.", param="file_ids")
        if self.files is not None:
            if self.attributes is not None or self.chunking_strategy is not None:
                raise ApiError("With 'files', attributes and chunking_strategy belong to each of them.", param="files")
            return [file.attachment(caller) for file in self.files]
        return [Attachment(caller.file(one), self.attributes, self.chunking_strategy) for one in self.file_ids or ()]


def store_file_object(file: StoreFile) -> Wire:
    error = file.last_error
    sizes = {"max_chunk_size_tokens": file.chunking.max_tokens, "chunk_overlap_tokens": file.chunking.overlap}
    return {
        "id": file.id,
        "object": "vector_store.file",
        "usage_bytes": file.usage_bytes,
        "created_at": file.created_at,
        "vector_store_id": file.store_id,
        "status": file.status,
        "last_error": None if error is None else {"code": error.code, "message": error.message},
        "chunking_strategy": {"type": "static", "static": sizes},
        "attributes": dict(file.attributes),
        # Garbage that cannot be found, counted by reason; null where nobody looked for it. And, while it is in
        # progress, how far it is.
        "cogcore": {"left_out": None if file.left_out is None else dict(file.left_out), "progress": _progress(file)},
    }


def _progress(file: StoreFile) -> Wire | None:
    far = file.progress
    return None if far is None else {"stage": far.stage, "chunks_embedded": far.done, "chunks": far.total}


def batch_object(batch: Batch) -> Wire:
    counts = {status: batch.counts.get(status, 0) for status in ("in_progress", "completed", "failed", "cancelled")}
    ended = "cancelled" if counts["cancelled"] else "completed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": batch.created_at,
        "vector_store_id": batch.store_id,
        "status": "in_progress" if counts["in_progress"] else ended,
        "file_counts": {**counts, "total": sum(counts.values())},
    }


def routes(parts: Parts) -> APIRouter:
    router, memory = APIRouter(prefix="/v1/vector_stores/{store_id}", tags=["vector stores"]), parts.memory

    @router.post("/files")
    def attach(store_id: SeenStore, wanted: NewFile, caller: Asking) -> Wire:
        one = wanted.attachment(caller)
        return store_file_object(memory.attach(store_id, one.file_id, one.attributes, one.chunking, one.replaces))

    @router.get("/files")
    def files(
        store_id: SeenStore,
        cut: Paged,
        status: Filter = None,
    ) -> Wire:
        page = memory.store_files(store_id, cut.limit, cut.after, cut.before, cut.order, status)
        return listing(page, store_file_object)

    @router.get("/files/{file_id}")
    def file(store_id: SeenStore, file_id: str, response: Response) -> Wire:
        response.headers["openai-poll-after-ms"] = POLL_MS
        return store_file_object(memory.store_file(store_id, file_id))

    @router.post("/files/{file_id}")
    def update(store_id: SeenStore, file_id: str, change: AttributesChange) -> Wire:
        return store_file_object(memory.update_attributes(store_id, file_id, change.attributes or {}))

    @router.delete("/files/{file_id}")
    def detach(store_id: SeenStore, file_id: str, caller: Asking) -> Wire:
        memory.detach(store_id, file_id)
        parts.core.engine.forget(caller.cache_keys(parts.secret))
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    @router.get("/files/{file_id}/content")
    def content(store_id: SeenStore, file_id: str) -> Wire:
        text = memory.store_text(store_id, file_id)
        return {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": text}],
            "has_more": False,
            "next_page": None,
        }

    @router.post("/file_batches")
    def attach_batch(store_id: SeenStore, wanted: NewBatch, caller: Asking) -> Wire:
        return batch_object(memory.attach_batch(store_id, wanted.attachments(caller)))

    @router.get("/file_batches/{batch_id}")
    def batch(store_id: SeenStore, batch_id: str, response: Response) -> Wire:
        response.headers["openai-poll-after-ms"] = POLL_MS
        return batch_object(memory.batch(store_id, batch_id))

    @router.post("/file_batches/{batch_id}/cancel")
    def cancel(store_id: SeenStore, batch_id: str) -> Wire:
        return batch_object(memory.cancel_batch(store_id, batch_id))

    @router.get("/file_batches/{batch_id}/files")
    def batch_files(
        store_id: SeenStore,
        batch_id: str,
        cut: Paged,
        status: Filter = None,
    ) -> Wire:
        page = memory.store_files(store_id, cut.limit, cut.after, cut.before, cut.order, status, batch_id)
        return listing(page, store_file_object)

    return router
