"""The shapes of files, stores, their files and batches, and of what a search finds."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.described.chats import Count

Attribute = str | float | bool
Status = Literal["in_progress", "completed", "failed", "cancelled"]


class FileObject(BaseModel):
    id: str
    object: Literal["file"]
    bytes: Count
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class FileCounts(BaseModel):
    in_progress: Count
    completed: Count
    failed: Count
    cancelled: Count
    total: Count


class ExpiresAfterObject(BaseModel):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]


class StoreObject(BaseModel):
    id: str
    object: Literal["vector_store"]
    created_at: int
    name: str
    description: str
    usage_bytes: Count
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    expires_after: ExpiresAfterObject | None
    expires_at: int | None
    last_active_at: int | None
    metadata: dict[str, Any]
    version: int
    aliases: list[str]


class StoreDeleted(BaseModel):
    id: str
    object: Literal["vector_store.deleted"]
    deleted: Literal[True]


class TextContent(BaseModel):
    type: Literal["text"]
    text: str


class SearchResult(BaseModel):
    file_id: str
    filename: str
    score: Annotated[float, Field(ge=0, le=1)]
    attributes: dict[str, Attribute]
    content: list[TextContent]
    chunk_id: str


class SearchResults(BaseModel):
    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[SearchResult]
    has_more: Literal[False]
    next_page: None
    vector_store_id: str
    version: int


class FileError(BaseModel):
    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class StaticSizes(BaseModel):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class StaticChunking(BaseModel):
    type: Literal["static"]
    static: StaticSizes


class LeftOut(BaseModel):
    left_out: dict[str, int] | None


class StoreFileObject(BaseModel):
    id: str
    object: Literal["vector_store.file"]
    usage_bytes: Count
    created_at: int
    vector_store_id: str
    status: Status
    last_error: FileError | None
    chunking_strategy: StaticChunking
    attributes: dict[str, Attribute]
    cogcore: LeftOut


class StoreFileDeleted(BaseModel):
    id: str
    object: Literal["vector_store.file.deleted"]
    deleted: Literal[True]


class FileContent(BaseModel):
    object: Literal["vector_store.file_content.page"]
    data: list[TextContent]
    has_more: Literal[False]
    next_page: None


class BatchObject(BaseModel):
    id: str
    object: Literal["vector_store.files_batch"]
    created_at: int
    vector_store_id: str
    status: Status
    file_counts: FileCounts
