"""Values to bytes: one JSON body, or server-sent events."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import Response

from app.api.errors import body, describe

log = logging.getLogger("cogcore.http")
POLL_MS = "250"  # SDKs ask again after this long instead of their default second
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}  # some clients end an event's line there


async def frames(chunks: AsyncGenerator[Any], reply: str) -> AsyncGenerator[str]:
    """The chunks as server-sent events, named by their type if they have one, None as a comment that keeps the
    connection open.

    A failure becomes a last frame with OpenAI's error body, and no [DONE].
    """
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield ": keep-alive\n\n" if chunk is None else _frame(chunk)
        yield "data: [DONE]\n\n"
    except Exception as error:
        message, row, _ = describe(error)
        if row.status >= 500:
            log.exception("reply %s failed", reply)
        yield _frame(body(message, row))


def _frame(chunk: Any) -> str:
    name = f"event: {chunk['type']}\n" if "type" in chunk else ""
    return f"{name}data: {_dump(chunk)}\n\n"


def whole_json(value: Any) -> Response:
    return Response(_dump(value), media_type="application/json")


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(LINE_ENDS)
