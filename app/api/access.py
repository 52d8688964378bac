"""Who may enter, and where to: the only place that reads a key.

The key is COGCORE_API_KEY, which may do everything, or one that was made by `cogcore key`. While there is neither, the
server is open, but answers only under its own names and never to another site's page: a web page that the user visits
could otherwise reach it through the browser (DNS rebinding, cross-site posts).
"""

import hmac
import re
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope as Request

from app.api.caller import ANYONE, READER, ROOT, Caller
from app.api.errors import ApiError
from app.api.parts import Parts
from app.api.quota import Quotas
from app.api.signature import sign, signing_key
from app.keys import ORGANISATION, Key, Scope
from app.settings import loopback

OPEN = frozenset({"/health", "/healthz", "/readyz"})

READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Beginnings, so that no spelling of a path slips past.
ADMINISTRATION = ("/v1/cogcore/keys", "/v1/cogcore/reviews")
BUNDLES = "/v1/cogcore/stores"  # whole stores, in and out
# Counts what all organisations do, so it is told to the default one alone: that of who runs the server.
OVERALL = "/metrics"
# Sent by POST, and changes nothing that was there before.
ASKING = re.compile(
    r"/mcp|/v1/(chat/completions|completions|responses(/[^/]+/cancel)?|conversations(/[^/]+/items)?|embeddings|rerank|vector_stores/[^/]+/search)"
)
# All that a key limited to stores may reach; each of these routes hands the caller's sight to the memory.
LIMITED = re.compile(
    r"GET (/openapi\.json|/version|/v1/(models(/.+)?|vector_stores(/[^/]+)?|cogcore/aliases(/[^/]+)?|passages/[^/]+))"
    r"|POST /v1/(chat/completions|completions|embeddings|rerank|vector_stores/[^/]+/search)"
    r"|[A-Z]+ (/mcp|/v1/(responses|conversations|files|vector_stores/[^/]+/(files|file_batches))(/.*)?)"
)


class Refused(ApiError):
    """Who asks may not enter."""


class Access:
    """Tells who asks. Raises Refused where nobody may, or not this one."""

    def __init__(self, parts: Parts) -> None:
        self._parts, settings = parts, parts.settings
        self._root = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._quotas = Quotas(settings)
        self._public_name = urlsplit(settings.public_url).hostname
        self._limiter = CapacityLimiter(4)  # threads of its own: who asks must not wait for searches and uploads
        if self._root is not None:
            signing_key(self._root.decode())  # derived slowly, once: not while a request waits

    async def caller(self, request: Request, headers: Headers) -> Caller:
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        bearer = sent.strip() if scheme.lower() == "bearer" else ""
        if self._root is not None and hmac.compare_digest(bearer.encode(), self._root):
            key = ROOT
        else:
            key = await to_thread.run_sync(self._key, bearer, request, limiter=self._limiter)
        if key is ANYONE:
            self._same_site(headers)
            return Caller(key, self._parts.keys, self._parts.memory, bearer)
        _check(key, request["method"], request["path"])
        return Caller(key, self._parts.keys, self._parts.memory, quota=self._quotas.of(key))

    def _key(self, bearer: str, request: Request) -> Key:
        key = self._parts.keys.find(bearer)
        if key is not None:
            self._parts.memory.settle(key.organisation)
            return key
        links = self._parts.link_key
        if links is None:
            return ANYONE
        signature = QueryParams(request["query_string"]).get("signature", "")
        if hmac.compare_digest(signature.encode(), sign(links, request["path"]).encode()):
            return READER
        # litellm takes a 401 for one only if it says, as OpenAI's does, "Incorrect API key provided".
        raise Refused(
            "Incorrect API key provided, or none. Send COGCORE_API_KEY, or a key that `cogcore key create` made, as "
            "`Authorization: Bearer KEY`.",
            code="invalid_api_key",
            status=401,
        )

    def _same_site(self, headers: Headers) -> None:
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower().strip("[]")
        if not loopback(host) and host != self._public_name:
            raise Refused(
                f"This server has no API key and does not answer as '{host}'. "
                "Ask for it as 127.0.0.1, or set COGCORE_PUBLIC_URL or COGCORE_API_KEY.",
                code="forbidden",
                status=403,
            )
        origin = headers.get("origin")
        if origin and origin.partition("://")[2] != headers.get("host"):
            raise Refused(
                f"This server has no API key and takes no requests from pages of {origin}. Set COGCORE_API_KEY.",
                code="forbidden",
                status=403,
            )


def changes(method: str, path: str) -> bool:
    """Whether a request may change something: all but those that are known not to. Who carries a store away is asked
    for as much, and written down as well."""
    return path.startswith(BUNDLES) or (method not in READING and not ASKING.fullmatch(path))


def needed(method: str, path: str) -> Scope:
    """The scope that a request needs."""
    if path.startswith(ADMINISTRATION):
        return "admin"
    return "write" if changes(method, path) else "read"


def _check(key: Key, method: str, path: str) -> None:
    scope = needed(method, path)
    if not key.may(scope):
        said = f"This API key has the scope '{key.scope}'; {method} {path} needs the scope '{scope}'."
        raise Refused(said, code="insufficient_scope", status=403)
    if key.organisation != ORGANISATION and path.startswith(OVERALL):
        said = f"{method} {path} counts for all organisations; only keys of the organisation '{ORGANISATION}' read it."
        raise Refused(said, code="insufficient_scope", status=403)
    if key.stores is not None and not LIMITED.fullmatch(f"{method} {path}"):
        said = f"This API key is limited to its stores; {method} {path} needs the scope '{scope}' for all stores."
        raise Refused(said, code="insufficient_scope", status=403)
