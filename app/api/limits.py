"""Fields that several requests share, and how strictly they are read."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)

from app.api.json_limits import check_json
from index.checks import LARGEST_CHUNK, LONGEST_KEY, LONGEST_VALUE, MOST_PAIRS, check_chunking
from index.types import Chunking

SMALLEST_CHUNK = 100  # OpenAI's: scripts may ask the memory for less


class Strict(BaseModel):
    """A request body: an unknown field is refused by name, a number in quotes is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _sound(cls, given: Any) -> Any:
        """No tokenizer, catalog or answer can hold what is refused here."""
        if isinstance(given, dict):
            check_json(given)
        return given


async def _known_query(request: Request) -> None:
    known = set(_query(request.scope["route"].dependant))
    for name in request.query_params:
        if name not in known:
            raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", name)}])


def _query(of: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in of.query_params)
    for needed in of.dependencies:
        yield from _query(needed)


# For a route: a parameter that it does not know is refused by name, too.
KNOWN_QUERY = Depends(_known_query)


class Only:
    """For a field of OpenAI's that is not offered: only the values that ask for nothing pass."""

    def __init__(self, *allowed: Any, remedy: str) -> None:
        self.allowed, self.remedy = (None, *allowed), remedy

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return AfterValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, _: Any, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.allowed)}

    def _check(self, value: Any) -> Any:
        # 1 == True, so types are compared too.
        if not any(value == one and type(value) is type(one) for one in self.allowed):
            raise ValueError(f"{self.remedy}.")
        return value


def checked(least: float, most: float, default: Any = ..., **told: Any) -> Any:
    """A number that the memory checks, in better words; the description tells its bounds."""
    return Field(default, json_schema_extra={"minimum": least, "maximum": most}, **told)


def chunking(given: Any) -> Any:
    """OpenAI's chunking_strategy; None is the memory's own way. Raises InvalidRequest, too."""
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
    return check_chunking(Chunking(sizes["max_chunk_size_tokens"], sizes["chunk_overlap_tokens"]), SMALLEST_CHUNK)


# What a client may attach to an object, for itself.
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class AutoChunking(Strict):
    type: Literal["auto"]


class ChunkSizes(Strict):
    max_chunk_size_tokens: int = checked(SMALLEST_CHUNK, LARGEST_CHUNK)
    chunk_overlap_tokens: int = Field(ge=0, description="At most half of `max_chunk_size_tokens`")


class StaticStrategy(Strict):
    type: Literal["static"]
    static: ChunkSizes


Strategy = Annotated[
    Chunking | None,
    BeforeValidator(chunking, json_schema_input_type=AutoChunking | StaticStrategy | None),
]
VALUE = {"type": ["string", "number", "boolean"]}
# The memory checks these.
Pairs = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MOST_PAIRS,
            "propertyNames": {"minLength": 1, "maxLength": LONGEST_KEY},
            "additionalProperties": VALUE | {"maxLength": LONGEST_VALUE},
        }
    ),
]
Filters = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "type": {"enum": ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]},
                        "key": {"type": "string", "minLength": 1},
                        "value": {"anyOf": [VALUE, {"type": "array", "items": VALUE}]},
                    },
                    "required": ["type", "key", "value"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {
                        "type": {"enum": ["and", "or"]},
                        "filters": {"type": "array", "items": {"type": "object"}, "description": "Filters again"},
                    },
                    "required": ["type", "filters"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
