"""What can go wrong in the memory.

MemoryFault
├── NotFound
│   ├── FileNotFound · StoreNotFound · AliasNotFound · ChunkNotFound
├── AmbiguousName        two stores share the name
├── InvalidRequest       the caller's argument is wrong; `field` names it
├── FolderFault          the data folder is in use, damaged, or from a newer version
├── CatalogAway          the database of the catalog does not answer; it may soon
├── EmbedderMismatch     the data folder was made with another embedder
├── BundleRefused        a bundle is damaged, of a newer format, or none
├── MilvusAway           Milvus, where the indexes are, does not do its part; the documents are safe
├── FaissRefused         FAISS has no index of this name, or none that a store can use
└── ParseError           the document cannot be read; `code` is OpenAI's
    ├── UnsupportedFile
    └── InvalidFile
"""

from typing import Literal


class MemoryFault(Exception):
    """The root: its message says what is wrong and what would mend it."""


class NotFound(MemoryFault):
    """No such thing, or not yours to see."""


class FileNotFound(NotFound):
    """No file of this id."""


class StoreNotFound(NotFound):
    """No store of this id or name."""


class AliasNotFound(NotFound):
    """No alias of this name."""


class ChunkNotFound(NotFound):
    """No chunk of this id, or its document was removed."""


class AmbiguousName(MemoryFault):
    """Several stores have this name; use an id."""


class InvalidRequest(MemoryFault):
    """An argument is out of its range."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class FolderFault(MemoryFault):
    """The data folder cannot be opened."""


class CatalogAway(MemoryFault):
    """The catalog's database cannot be reached, or broke off: nothing was promised."""


class EmbedderMismatch(MemoryFault):
    """The vectors on disk come from another embedder."""


class BundleRefused(MemoryFault):
    """A file that cannot be imported."""


class FaissRefused(MemoryFault):
    """A factory string that names no index, or none that can remove and filter."""


class MilvusAway(MemoryFault):
    """Nothing can be searched until Milvus does what it is asked; what changes meanwhile is caught up with."""


class ParseError(MemoryFault):
    """A document that cannot be read."""

    code: Literal["unsupported_file", "invalid_file"] = "invalid_file"


class UnsupportedFile(ParseError):
    """A format that we do not read."""

    code = "unsupported_file"


class InvalidFile(ParseError):
    """Empty, damaged, encrypted, too large, or not what its name says."""
