"""The values that cross the memory's door. Frozen; offsets are characters, times are Unix seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Scalar = str | float | bool
FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded original, kept content-addressed on disk."""

    id: str
    filename: str
    bytes: int
    created_at: int
    purpose: str
    sha256: str


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A searchable collection: OpenAI's vector store."""

    id: str
    name: str
    created_at: int
    last_active_at: int
    metadata: Mapping[str, str]
    counts: Mapping[FileStatus, int]
    usage_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a document did not become searchable, in words its owner understands."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


@dataclass(frozen=True, slots=True)
class Chunking:
    """Sizes in the embedder's tokens."""

    max_tokens: int = 256
    overlap: int = 0


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file's membership in a store. `completed` means searchable, nothing else."""

    id: str
    store_id: str
    filename: str
    status: FileStatus
    last_error: Failure | None
    attributes: Mapping[str, Scalar]
    chunking: Chunking
    usage_bytes: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage and its place: `text` is the parsed document's text[start:end]."""

    id: str
    file_id: str
    filename: str
    text: str
    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]
    attributes: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """The span of a passage that seems to answer, and how probably the passage answers at all.

    `start` and `end` are offsets into the passage that was read.
    """

    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search returned. `score` in [0, 1]; `mark` is set when a reader has read it."""

    chunk: Chunk
    score: float
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, newest first unless asked otherwise."""

    data: Sequence[T]
    has_more: bool
