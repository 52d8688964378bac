"""The memory's methods by what they are about. Memory is all of these classes at once, over one open folder."""

import secrets
import time
from typing import Literal

from index.catalog import Catalog
from index.ingest import Ingest
from index.originals import Originals
from index.parse import Limits
from index.removal import Removal
from index.shelf import Shelf
from index.types import Embedder

Order = Literal["asc", "desc"]


class Opened:
    """What they work on; Memory opens it."""

    embedder: Embedder
    _catalog: Catalog
    _originals: Originals
    _shelf: Shelf
    _removal: Removal
    _ingest: Ingest
    _limits: Limits


def now() -> int:
    return int(time.time())


def new_id(prefix: str) -> str:
    """Whoever was not told it cannot guess it."""
    return prefix + secrets.token_hex(12)
