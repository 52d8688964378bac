"""What a JSON body may hold beyond what Python's reader refuses: all that can be walked, kept and told again."""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from app.api.errors import name

DEEPEST = 100  # objects and lists within each other: validators and encoders recurse
NESTED = (dict, list)
LARGEST = sys.float_info.max
LONG = re.compile(r"(?<![0-9])[0-9]{309}")  # an integer that may be larger, or such a text

Place = tuple["Place", str | int] | None  # in what something stands, and under which key; None: the body itself


def check_json(given: Any) -> None:
    """Raise ValueError for NaN, a number beyond a float's, half of a surrogate pair, and what is nested too deep."""
    level = [given]
    for _ in range(DEEPEST):
        level = [part for one in level for part in _parts(one) if isinstance(part, NESTED)]
        if not level:
            break
    else:
        raise ValueError(f"The body is nested deeper than {DEEPEST} objects and lists. Flatten it.")
    try:
        # Quick, also for a million numbers. Where one stands that is none is looked for only when there is one.
        text = json.dumps(given, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError as error:
        before = error.object[max(0, error.start - 20) : error.start]
        raise ValueError(f"The body holds half of a character (a lone surrogate) after {before!r}.") from error
    except ValueError:
        text = ""
    if (not text or LONG.search(text)) and (where := _boundless(given)):
        raise ValueError(f"'{where}' must be a number between -{LARGEST:.1e} and {LARGEST:.1e}: JSON has no others.")


def _parts(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def _boundless(given: Any) -> str | None:
    """Where the first number stands that is none, or beyond a float's."""
    waiting: list[tuple[Place, Any]] = [(None, given)]
    while waiting:
        place, one = waiting.pop()
        for key, part in one.items() if isinstance(one, dict) else enumerate(one):
            if isinstance(part, NESTED):
                waiting.append(((place, key), part))
            elif isinstance(part, int | float) and not -LARGEST <= part <= LARGEST:
                return _named((place, key))
    return None


def _named(place: Place) -> str | None:
    keys: list[str | int] = []
    while place is not None:
        place, key = place
        keys.append(key)
    return name(keys[::-1])
