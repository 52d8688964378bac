"""What a client's script in Python is made of: checks, each told to the runner as one line of JSON."""

import asyncio
import inspect
import json
import os
import traceback
import urllib.request
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = json.loads((Path(__file__).parent / "asked.json").read_text("utf-8"))
URL = os.environ["OPENAI_BASE_URL"]
KEY = os.environ["OPENAI_API_KEY"]

_checks: list[Callable[[], Any]] = []


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Marks a function, plain or async, as a check. It fails by raising."""
    _checks.append(function)
    return function


def run() -> None:
    """Every check of the script, in order."""
    for one in _checks:
        failed = None
        try:
            made = one()
            if inspect.iscoroutine(made):
                asyncio.run(made)
        except Exception:
            failed = traceback.format_exc()
        print(json.dumps({"check": one.__name__.replace("_", " "), "failed": failed}), flush=True)


def raises(kind: type[Exception], call: Callable[[], Any]) -> Any:
    """The error of this kind that the call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"nothing of the kind {kind.__name__} was raised")


def assert_shows(url: str, words: str) -> None:
    """The link of a citation opens as a browser opens it, without the key, and the words stand there marked."""
    with urllib.request.urlopen(url) as answer:
        page = unescape(answer.read().decode())
    marked = page.partition("<mark>")[2].partition("</mark>")[0]
    assert words in marked, f"{url} marks {marked!r}"
