"""Every change into the audit log, whatever route made it: the log is on the disk before the answer goes out."""

import asyncio
import json
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access import changes
from app.audit import Audit

LONGEST = 2**16  # bytes of an answer that is looked into for what was made
TOLD = ("id", "vector_store_id", "organisation")  # of an answer: what was made, where an alias points, whose a key is

log = logging.getLogger("cogcore.http")


class Trail:
    """Behind the door, so that who asks is known. What was refused changed nothing and leaves no line."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self.app, self.audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not changes(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def noted(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] < 300:
                held = message
                return
            if held is not None:
                start, held = held, None
                await self._note(scope, start, message)
                await send(start)
            await send(message)

        await self.app(scope, receive, noted)

    async def _note(self, scope: Scope, start: Message, body: Message) -> None:
        key, changed = scope["caller"].key, {name: str(value) for name, value in scope["path_params"].items()}
        made = _made(Headers(raw=start["headers"]), body.get("body", b""))
        changed |= {name: value for name, value in made.items() if value not in changed.values()}
        action = f"{scope['method']} {scope['route'].path}"
        try:
            await asyncio.to_thread(self.audit.note, key.id, key.organisation, action, changed, scope["request_id"])
        except OSError:
            log.exception("%s by %s was done and could not be written to %s", action, key.id, self.audit.path)


def _made(headers: Headers, body: bytes) -> dict[str, str]:
    """What an answer tells of it."""
    if not headers.get("content-type", "").startswith("application/json") or len(body) > LONGEST:
        return {}
    made = json.loads(body)
    told = made if isinstance(made, dict) else {}
    return {name: told[name] for name in TOLD if isinstance(told.get(name), str)}
