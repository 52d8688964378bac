"""What a caller may say: every limit of the memory's arguments, with the field and the remedy in the refusal."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from index.errors import EmbedderMismatch, InvalidRequest
from index.types import Attachment, Chunking, Scalar

DEFAULT_STORE = "default"  # an alias, always there
FIRST_STORE = "documents"  # the name of the store that it points to at first
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STORE_ID = re.compile(r"vs_[0-9a-f]{24}")  # no name is like it, so that an id never leads to another's store
LONGEST_NAME = 512
UNNAMED = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories: control characters, halves of characters, ends of lines
TURNING = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}  # a name may look like another with these
BUT = ", without those that control a terminal or turn the direction of writing"
SMALLEST_CHUNK, LARGEST_CHUNK = 32, 4096
MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
MOST_HITS = 50
MOST_QUERIES = 16
LONGEST_QUERY = 8192
MOST_NEIGHBOURS = 4096  # tokens around one hit


def check_embedder(made_with: str, fingerprint: str, folder: Path) -> None:
    if made_with != fingerprint:
        raise EmbedderMismatch(
            f"the vectors in {folder} were made by {made_with}, not by {fingerprint}: set that embedder again, "
            "or run `cogcore reembed` with the new one, which makes its vectors beside these and then swaps them"
        )


def check_filename(filename: str) -> str:
    if not filename.strip() or len(filename) > LONGEST_NAME or _is_unnamed(filename):
        raise InvalidRequest("filename", f"a filename has 1 to {LONGEST_NAME} characters{BUT}, not {filename!r:.80}")
    return filename


def check_store_name(name: str) -> str:
    if len(name) > LONGEST_NAME or _is_unnamed(name):
        raise InvalidRequest("name", f"a store's name has at most {LONGEST_NAME} characters{BUT}")
    if STORE_ID.fullmatch(name):
        raise InvalidRequest("name", f"{name!r} is how ids of stores look; choose another name")
    return name


def check_alias(name: str) -> str:
    """It stands in addresses and in the names of models."""
    if not ALIAS.fullmatch(name):
        raise InvalidRequest("alias", "an alias has 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first")
    if STORE_ID.fullmatch(name):
        raise InvalidRequest("alias", f"{name!r} is how ids of stores look; choose another alias")
    return name


def check_chunking(chunking: Chunking, smallest: int = SMALLEST_CHUNK) -> Chunking:
    if not smallest <= chunking.max_tokens <= LARGEST_CHUNK:
        raise InvalidRequest(
            "chunking_strategy.static.max_chunk_size_tokens",
            f"max_chunk_size_tokens must be {smallest} to {LARGEST_CHUNK}, not {chunking.max_tokens}",
        )
    if not 0 <= chunking.overlap <= chunking.max_tokens // 2:
        raise InvalidRequest(
            "chunking_strategy.static.chunk_overlap_tokens",
            f"chunk_overlap_tokens must be 0 to half of max_chunk_size_tokens, not {chunking.overlap}",
        )
    return chunking


def check_attributes(attributes: Mapping[str, Scalar]) -> dict[str, Scalar]:
    for key, value in attributes.items():
        if isinstance(value, str):
            _check_text(f"attributes.{key}", value)
        elif not isinstance(value, bool | int | float) or not math.isfinite(value):
            raise InvalidRequest(f"attributes.{key}", f"attribute {key!r} must be a string, a number or a boolean")
    _check_keys("attributes", attributes)
    return dict(attributes)


def check_attachment(attachment: Attachment) -> Attachment:
    if attachment.attributes is not None:
        check_attributes(attachment.attributes)
    if attachment.chunking is not None:
        check_chunking(attachment.chunking)
    return attachment


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise InvalidRequest(f"metadata.{key}", f"metadata {key!r} must be a string")
        _check_text(f"metadata.{key}", value)
    _check_keys("metadata", metadata)
    return dict(metadata)


def check_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= 365:
        raise InvalidRequest("expires_after.days", f"expires_after.days must be 1 to 365, not {days}")
    return days


def check_queries(queries: str | Sequence[str]) -> list[str]:
    asked = [queries] if isinstance(queries, str) else list(queries)
    if not 1 <= len(asked) <= MOST_QUERIES:
        raise InvalidRequest("query", f"query must be a text or a list of 1 to {MOST_QUERIES} texts, not {len(asked)}")
    for query in asked:
        if not query.strip() or len(query) > LONGEST_QUERY:
            raise InvalidRequest("query", f"a query must have 1 to {LONGEST_QUERY} characters, not {len(query)}")
    return asked


def check_hits(k: int) -> int:
    if not 1 <= k <= MOST_HITS:
        raise InvalidRequest("max_num_results", f"max_num_results must be 1 to {MOST_HITS}, not {k}")
    return k


def check_neighbours(tokens: int) -> int:
    if not 0 <= tokens <= MOST_NEIGHBOURS:
        raise InvalidRequest("cogcore.neighbours", f"neighbours must be 0 to {MOST_NEIGHBOURS} tokens, not {tokens}")
    return tokens


def check_timeout(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise InvalidRequest("cogcore.timeout", f"timeout must be more than 0 seconds, or left out, not {seconds}")
    return seconds


def check_share(field: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise InvalidRequest(field, f"{field} must be between 0 and 1, not {value}")
    return value


def _is_unnamed(name: str) -> bool:
    return any(char in TURNING or unicodedata.category(char) in UNNAMED for char in name)


def _check_keys(field: str, pairs: Mapping[str, object]) -> None:
    if len(pairs) > MOST_PAIRS:
        raise InvalidRequest(field, f"{field} can have {MOST_PAIRS} keys, not {len(pairs)}")
    for key in pairs:
        if not 1 <= len(key) <= LONGEST_KEY:
            raise InvalidRequest(field, f"a key of {field} has 1 to {LONGEST_KEY} characters, not {len(key)}")


def _check_text(field: str, value: str) -> None:
    if len(value) > LONGEST_VALUE:
        raise InvalidRequest(field, f"{field} can have {LONGEST_VALUE} characters, not {len(value)}")
