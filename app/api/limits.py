"""Fields that several requests share, and how strictly they are read."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from index.types import Chunking


class Strict(BaseModel):
    """A request body: an unknown field is refused by name, a number in quotes is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _whole_characters(cls, given: Any) -> Any:
        """JSON can spell half of a surrogate pair, which no tokenizer, catalog or answer can hold."""
        if isinstance(given, dict):
            try:
                json.dumps(given, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                before = error.object[max(0, error.start - 20) : error.start]
                raise ValueError(f"The body holds half of a character (a lone surrogate) after {before!r}.") from error
        return given


def only(*allowed: Any, remedy: str) -> AfterValidator:
    """For a field of OpenAI's that is not offered: only the values that ask for nothing pass."""

    def check(value: Any) -> Any:
        # 1 == True, so types are compared too.
        if not any(value == one and type(value) is type(one) for one in (None, *allowed)):
            raise ValueError(f"{remedy}.")
        return value

    return AfterValidator(check)


def chunking(given: Any) -> Any:
    """OpenAI's chunking_strategy; None is the memory's own way. The memory checks the sizes."""
    if given is None or given == {"type": "auto"}:
        return None
    static = given.get("static") if isinstance(given, dict) and set(given) == {"type", "static"} else None
    sizes = static if isinstance(static, dict) and given["type"] == "static" else {}
    if set(sizes) != {"max_chunk_size_tokens", "chunk_overlap_tokens"} or not all(
        type(n) is int for n in sizes.values()
    ):
        raise ValueError(
            '\'chunking_strategy\' must be {"type": "auto"} or {"type": "static", "static": '
            '{"max_chunk_size_tokens": 100 to 4096, "chunk_overlap_tokens": at most half of it}}.'
        )
    return Chunking(sizes["max_chunk_size_tokens"], sizes["chunk_overlap_tokens"])


Strategy = Annotated[Chunking | None, BeforeValidator(chunking)]
