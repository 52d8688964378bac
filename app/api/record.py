"""What is kept of a request: one line in the log and its count, whatever became of it. Never what was said in it.

The route is told as its template: an address may hold names of documents, and the signature of a link.
"""

import logging
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import Metrics

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HUNG_UP = 499  # as nginx calls it: nobody was there for the answer

log = logging.getLogger("cogcore.requests")


class Record:
    """Around the whole application, its door too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, request_id = time.perf_counter(), HUNG_UP, ""

        async def noted(message: Message) -> None:
            nonlocal status, request_id
            if message["type"] == "http.response.start":
                status, request_id = message["status"], Headers(raw=message["headers"]).get("x-request-id", "")
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            self._note(scope, status, request_id, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, request_id: str, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route, ms = getattr(scope.get("route"), "path", "unknown"), round(seconds * 1000)
        self.metrics.request(method, route, status, seconds)
        fields = {"id": request_id, "method": method, "route": route, "status": status, "ms": ms}
        if "caller" in scope:
            key = scope["caller"].key
            fields |= {"key": key.id, "organisation": key.organisation}
        log.info("%s %s %d %d ms %s", method, route, status, ms, request_id, extra={"fields": fields})
