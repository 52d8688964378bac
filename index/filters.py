"""OpenAI's attribute filters, checked and turned into a predicate.

    {"type": "and", "filters": [{"type": "eq", "key": "lang", "value": "en"},
                                {"type": "gte", "key": "year", "value": 2020}]}

A key that a document lacks fails every comparison but `ne` and `nin`. Values compare with their own kind only: text
with text (alphabetically), numbers with numbers, true and false only for equality. The key "filename" is the name of a
document's file, unless the document has an attribute of that name.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from index.errors import InvalidRequest
from index.types import Scalar

Predicate = Callable[[Mapping[str, Scalar]], bool]

ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
KINDS = ("eq", "ne", *ORDERED, "in", "nin", "and", "or")
DEEPEST = 16
FILENAME = "filename"


def compile_filter(given: object, field: str = "filters", depth: int = 0) -> Predicate:
    """A predicate over a document's attributes. Raises InvalidRequest naming the part that is wrong."""
    if not isinstance(given, Mapping):
        raise InvalidRequest(field, f"{field} must be an object with a type, not {given!r}")
    kind = given.get("type")
    if kind not in KINDS:
        raise InvalidRequest(f"{field}.type", f"{field}.type must be one of {', '.join(KINDS)}, not {kind!r}")
    fields = {"type", "filters"} if kind in ("and", "or") else {"type", "key", "value"}
    for name in given:
        if name not in fields:
            raise InvalidRequest(f"{field}.{name}", f"{field} of type {kind} has no {name!r}, only {sorted(fields)}")
    if kind in ("and", "or"):
        return _compound(kind, given.get("filters"), field, depth)
    key, value = given.get("key"), given.get("value")
    if not isinstance(key, str) or not key:
        raise InvalidRequest(f"{field}.key", f"{field}.key must be the name of an attribute, not {key!r}")
    return _comparison(kind, key, value, field)


def _compound(kind: str, parts: object, field: str, depth: int) -> Predicate:
    if not isinstance(parts, list | tuple) or not parts:
        raise InvalidRequest(f"{field}.filters", f"{field}.filters must be a list of at least one filter")
    if depth >= DEEPEST:
        raise InvalidRequest(field, f"filters are nested deeper than {DEEPEST}")
    predicates = [compile_filter(part, f"{field}.filters[{i}]", depth + 1) for i, part in enumerate(parts)]
    together = all if kind == "and" else any
    return lambda attributes: together(predicate(attributes) for predicate in predicates)


def _comparison(kind: str, key: str, value: object, field: str) -> Predicate:
    if kind in ("in", "nin"):
        if not isinstance(value, list | tuple) or not all(_is_scalar(item) for item in value):
            raise InvalidRequest(f"{field}.value", f"{field}.value must be a list of strings, numbers or booleans")
        among = kind == "in"
        return lambda attributes: any(_equal(attributes.get(key), item) for item in value) is among
    if not _is_scalar(value):
        raise InvalidRequest(f"{field}.value", f"{field}.value must be a string, a number or a boolean, not {value!r}")
    if kind in ("eq", "ne"):
        same = kind == "eq"
        return lambda attributes: _equal(attributes.get(key), value) is same
    if isinstance(value, bool):
        raise InvalidRequest(f"{field}.value", f"{field}: {kind} needs a number or a string, not {value!r}")
    compare = ORDERED[kind]

    def ordered(attributes: Mapping[str, Scalar]) -> bool:
        found = attributes.get(key)
        return found is not None and _kind(found) == _kind(value) and compare(found, value)

    return ordered


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def _kind(value: object) -> str:
    # Python counts True as 1; a filter must not.
    return "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def _equal(found: object, value: object) -> bool:
    return found is not None and _kind(found) == _kind(value) and found == value
