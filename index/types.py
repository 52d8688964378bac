"""The values that cross the memory's door. Frozen; offsets are characters, times are Unix seconds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
OWNER = "default"  # whose everything is where nobody says whose
Scalar = str | float | bool
FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
Reason = Literal[
    "boilerplate", "duplicate", "binary", "encoding", "garbled", "empty"
]  # index.garbage tells which is what
Stage = Literal["waiting", "parsing", "chunking", "embedding", "indexing"]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded original, kept content-addressed on disk."""

    id: str
    filename: str
    bytes: int
    created_at: int
    purpose: str
    sha256: str
    expires_at: int | None = None
    owner: str = OWNER


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
    description: str = ""
    expires_after_days: int | None = None  # without use
    version: int = 1  # raised by each change of what can be found in it
    aliases: tuple[str, ...] = ()  # that point to it
    owner: str = OWNER

    @property
    def expires_at(self) -> int | None:
        return None if self.expires_after_days is None else self.last_active_at + self.expires_after_days * 86_400


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that points to a store. `before` are the stores it pointed to before, the last one first."""

    name: str
    store_id: str
    moved_at: int
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Files attached together, counted together."""

    id: str
    store_id: str
    created_at: int
    counts: Mapping[FileStatus, int]


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
class Progress:
    """How far a document is that is not yet searchable: so many of its chunks are embedded, once they are counted."""

    stage: Stage = "waiting"
    done: int = 0
    total: int | None = None


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
    left_out: Mapping[Reason, int] | None = None  # garbage in it, counted; None where that was not looked for
    progress: Progress | None = None  # while it is in progress


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
    """A chunk that a search returned. `score` in [0, 1]; `mark` is set when a reader has read it.

    `alike` others said the same and were left out for it. `neighbours` stand around it, in the document's order.
    """

    chunk: Chunk
    score: float
    mark: Mark | None = None
    alike: int = 0
    neighbours: tuple[Chunk, ...] = ()


class Hits(list[Hit]):
    """What one search found, best first: in the store of this id, as that was at this version.

    Not `complete` where the time was over before the reader had read what it would have.
    """

    def __init__(self, hits: Iterable[Hit], store: str, version: int, complete: bool = True) -> None:
        super().__init__(hits)
        self.store, self.version, self.complete = store, version, complete


@dataclass(frozen=True, slots=True)
class Sight:
    """What of the memory there is for one who asks: what this owner has. Where `stores` are named (by their ids), of it
    only these and what is in them, and these files.
    """

    owner: str = OWNER
    stores: frozenset[str] | None = None
    files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, newest first unless asked otherwise."""

    data: Sequence[T]
    has_more: bool


class Embedder(Protocol):
    """Text to unit vectors. Safe to use from many threads."""

    @property
    def dimension(self) -> int: ...

    @property
    def window(self) -> int:
        """How many tokens of a text its vector is made from; the rest is cut."""

    @property
    def name(self) -> str:
        """What clients call it."""

    @property
    def fingerprint(self) -> str:
        """Equal for two embedders exactly when their vectors may be mixed."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Passages to an (n, dimension) float32 array of L2-normalised rows."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """The same for questions, which some models want worded differently."""

    def count_tokens(self, text: str) -> int:
        """The length of a text in the model's tokens, never cut, without special tokens."""

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text of token ids of the model's; None for ids that it makes of no text: then they are another's."""


class PassageReader(Protocol):
    """Judges passages, each under its headings, beside a question: index.reader.Reader, or any other."""

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]: ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on its way into a store. Files that it `replaces` leave that store in the moment in which it is found."""

    file_id: str
    attributes: Mapping[str, Scalar] | None = None
    chunking: Chunking | None = None
    replaces: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Extent:
    """Chunks up to this number; so many of them. Seen at this version of their store."""

    last: int
    count: int
    version: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Recall:
    """How much the approximate indexes find: the mean share of the ten nearest chunks, over the last samples."""

    samples: int
    mean: float | None  # where nothing was measured yet


@dataclass(frozen=True, slots=True)
class Copied:
    """How many stores are on a GPU too, and how often that failed."""

    stores: int
    failures: int


@dataclass(frozen=True, slots=True)
class Stats:
    """How much there is. `backlog` is what waits to become searchable."""

    files: int
    bytes: int
    stores: int
    chunks: int
    backlog: int
