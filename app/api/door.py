"""What every request passes, as one ASGI middleware: its id, its time, who may enter, how much it may send.

Without an API key the server answers only under its own names and never to another site's page: a web page that
the user visits could otherwise reach it through the browser (DNS rebinding, cross-site posts).
"""

import hmac
import logging
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import ApiError, TooLarge, describe, response
from app.settings import Settings, loopback

OPEN = frozenset({"/health", "/healthz", "/readyz"})
JSON_LIMIT = 8 * 2**20
FORM_OVERHEAD = 2**16
DRAIN = 2**30
DRAIN_SECONDS = 20

log = logging.getLogger("cogcore.http")


class Refused(ApiError):
    """Who asks may not enter."""


class Door:
    """Wraps the whole application, so that no route can be added beside it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self.upload_limit = settings.max_upload_mb * 2**20 + FORM_OVERHEAD
        self.names = {settings.host, urlsplit(settings.public_url).hostname} - {None, ""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        request_id = _request_id(headers)
        started = False

        async def stamp(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                out["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
                out["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            self._admit(scope["path"], headers)
            await self.app(scope, self._limited(headers, receive), stamp)
        except Exception as error:
            if describe(error)[1].status >= 500:
                log.exception("request %s failed", request_id)
            if started:
                raise
            if isinstance(error, TooLarge) and "expect" not in headers:
                await _drain(receive)
            answer = response(error)
            if isinstance(error, Refused) and error.row.status == 401:
                answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, stamp)

    def _admit(self, path: str, headers: Headers) -> None:
        """Raise Refused unless the request may enter. The only check of its kind."""
        if path in OPEN:
            return
        if self.key is None:
            self._same_site(headers)
            return
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent.strip().encode(), self.key):
            raise Refused(
                "The API key is missing or wrong. Send the server's COGCORE_API_KEY as `Authorization: Bearer KEY`.",
                code="invalid_api_key",
                status=401,
            )

    def _same_site(self, headers: Headers) -> None:
        host = urlsplit("//" + headers.get("host", "")).hostname or ""
        if not loopback(host) and host not in self.names:
            raise Refused(
                f"This server has no API key and does not answer as '{host}'. "
                "Ask for it as 127.0.0.1, or set COGCORE_PUBLIC_URL or COGCORE_API_KEY.",
                code="forbidden",
                status=403,
            )
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != headers.get("host"):
            raise Refused(
                f"This server has no API key and takes no requests from pages of {origin}. Set COGCORE_API_KEY.",
                code="forbidden",
                status=403,
            )

    def _limited(self, headers: Headers, receive: Receive) -> Receive:
        """`receive` that stops a body at its limit, whatever its Content-Length says."""
        form = headers.get("content-type", "").startswith("multipart/")
        limit = self.upload_limit if form else JSON_LIMIT
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise TooLarge(limit)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise TooLarge(limit)
            return message

        return counted


async def _drain(receive: Receive) -> None:
    """Take the rest of a refused body: a client that is cut off while it sends never reads why."""
    taken, until = 0, time.monotonic() + DRAIN_SECONDS
    while taken < DRAIN and time.monotonic() < until:
        message = await receive()
        taken += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _request_id(headers: Headers) -> str:
    given = headers.get("x-client-request-id", "")
    return given if 0 < len(given) <= 512 and given.isascii() and given.isprintable() else f"req_{uuid.uuid4().hex}"
