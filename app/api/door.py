"""What every request passes, as one ASGI middleware: its id, its time, who may enter, how much it may send."""

import asyncio
import logging
import time
import uuid
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access import BUNDLES, OPEN, Access, Refused
from app.api.drain import Drain
from app.api.errors import TimedOut, TooLarge, describe, response
from app.settings import Settings

IMPORT = f"{BUNDLES}/import"
JSON_LIMIT = 8 * 2**20
FORM_OVERHEAD = 2**16
DRAIN = 2**30
DRAIN_SECONDS = 20

log = logging.getLogger("cogcore.http")


class Door:
    """Wraps the whole application, so that no route can be added beside it."""

    def __init__(self, app: ASGIApp, settings: Settings, access: Access, drain: Drain) -> None:
        self.app, self.access, self.drain = app, access, drain
        self.upload_limit = settings.max_upload_mb * 2**20 + FORM_OVERHEAD
        self.bundle_limit = settings.max_bundle_mb * 2**20
        self.seconds = settings.request_timeout or None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        request_id = _request_id(headers)
        scope["request_id"], started = request_id, False

        async def stamp(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                out["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
                out["x-content-type-options"] = "nosniff"
                if "caller" in scope:
                    out.update(scope["caller"].quota.headers())
            await send(message)

        try:
            if scope["path"] in OPEN:
                await self._in_time(scope, self._limited(scope, headers, receive), stamp)
            else:
                scope["caller"] = caller = await self.access.caller(scope, headers)
                self.drain.check()
                caller.quota.admit()
                with self.drain.busy():
                    await self._in_time(scope, self._limited(scope, headers, receive), stamp)
        except Exception as error:
            if describe(error)[1].status >= 500:
                log.exception("request %s failed", request_id)
            if started:
                raise
            answer = response(error, scope["path"])
            if isinstance(error, Refused) and error.row.status == 401:
                answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, stamp)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application. Raises TimedOut when it has not begun to answer in time; then a stream may go on."""
        # A store is as large as it is, and a network as slow.
        limit = asyncio.timeout(None if scope["path"].startswith(BUNDLES) else self.seconds)

        async def begun(message: Message) -> None:
            if message["type"] == "http.response.start" and not limit.expired():
                limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self.app(scope, receive, begun)
        except TimeoutError as error:
            raise TimedOut(self.seconds) if limit.expired() else error from None

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """`receive` that refuses a body over its limit, said by its Content-Length or not."""
        form = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self.upload_limit if form else self.bundle_limit if scope["path"] == IMPORT else JSON_LIMIT
        said, seen = int(headers.get("content-length", 0)), 0

        async def counted() -> Message:
            nonlocal seen
            if said > limit and "expect" in headers:
                raise TooLarge(limit)
            message = await receive()
            seen += len(message.get("body", b""))
            if max(said, seen) > limit:
                await _drain(message, receive)
                raise TooLarge(limit)
            return message

        return counted


async def _drain(message: Message, receive: Receive) -> None:
    """Take the rest of a refused body: a client that is cut off while it sends never reads why."""
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while message.get("more_body") and taken < DRAIN:
                message = await receive()
                taken += len(message.get("body", b""))


def _request_id(headers: Headers) -> str:
    given = headers.get("x-client-request-id", "")
    return given if 0 < len(given) <= 512 and given.isascii() and given.isprintable() else f"req_{uuid.uuid4().hex}"
