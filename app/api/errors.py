"""From whatever went wrong to OpenAI's error body. The one table of status codes."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from app.agent.turn import TurnRefused
from app.api.drain import RETRY_SECONDS, Stopping
from app.api.quota import OverLimit
from app.engine.types import (
    EngineBusy,
    EngineClosed,
    EngineError,
    EngineUnavailable,
    InvalidPrompt,
    InvalidSampling,
    PromptTooLong,
)
from index.errors import (
    AmbiguousName,
    BundleRefused,
    CatalogAway,
    EmbedderMismatch,
    FolderFault,
    InvalidRequest,
    MilvusAway,
    NotFound,
    ParseError,
)

INVALID = "invalid_request_error"
LONGEST_WAIT = 120  # seconds that clients which retry by themselves wait
MCP = "/mcp"
UNPARSED = "unparsed_json"


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of error is told."""

    status: int
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    final: bool = False  # would be the same again, so clients that retry by themselves must not


class TimedOut(Exception):
    """The server had not begun to answer when its time was over."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(
            f"no answer could be begun within {seconds:g} s (COGCORE_REQUEST_TIMEOUT); ask for less at once"
        )


TABLE: Mapping[type[Exception], Row] = {
    NotFound: Row(404, code="not_found"),
    AmbiguousName: Row(400, code="ambiguous_name"),
    InvalidRequest: Row(400, code="invalid_value"),
    BundleRefused: Row(400, code="invalid_bundle"),
    ParseError: Row(400, code="invalid_file", param="file"),
    ClientDisconnect: Row(400, code="body_cut_off"),  # nobody reads this
    TurnRefused: Row(400, code="invalid_value"),
    PromptTooLong: Row(400, code="context_length_exceeded", param="messages"),
    InvalidPrompt: Row(400, code="invalid_prompt", param="messages"),
    InvalidSampling: Row(400, code="invalid_value"),
    EngineBusy: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    OverLimit: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    EngineError: Row(500, "server_error", "engine_error"),
    EngineClosed: Row(503, "server_error", "shutting_down"),
    Stopping: Row(503, "server_error", "shutting_down"),
    EngineUnavailable: Row(503, "server_error", "core_unavailable"),
    CatalogAway: Row(503, "server_error", "catalog_unavailable"),
    MilvusAway: Row(503, "server_error", "memory_unavailable"),
    FolderFault: Row(500, "server_error", "data_folder_fault", final=True),
    EmbedderMismatch: Row(500, "server_error", "embedder_mismatch", final=True),
    TimedOut: Row(504, "server_error", "request_timeout", final=True),
}
UNKNOWN = Row(500, "server_error", "internal_error")
BY_STATUS: Mapping[int, Row] = {
    401: Row(401, code="invalid_api_key"),
    404: Row(404, code="unknown_url"),
    405: Row(405, code="method_not_allowed"),
    413: Row(413, code="body_too_large"),
}


class ApiError(Exception):
    """A request that the HTTP door itself refuses."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.row = Row(status, INVALID, code, param)


class TooLarge(HTTPException):
    """The body passes its limit. An HTTPException, because FastAPI hides any other that comes up while it reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The request's body is larger than {limit / 2**20:.0f} MiB. Send less at once.")


def body(message: str, row: Row) -> dict[str, Any]:
    """OpenAI's shape, all four keys always."""
    return {"error": {"message": message, "type": row.type, "param": row.param, "code": row.code}}


def describe(error: Exception) -> tuple[str, Row, dict[str, str]]:
    """Message, row and headers for any error that may leave this server."""
    if isinstance(error, ApiError):
        return str(error), error.row, {}
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        row = BY_STATUS.get(error.status_code, Row(error.status_code))
        return str(error.detail), row, dict(error.headers or {})
    for kind in type(error).__mro__:
        if kind in TABLE:
            row = TABLE[kind]
            # The field of a complaint from below is the request's parameter: they are named alike.
            named = replace(row, param=getattr(error, "field", row.param))
            return _sentence(str(error)), named, {"x-should-retry": "false"} if row.final else _retry(error, row)
    # Its own words may hold paths or document text: those belong in the log.
    return "The server failed to answer. Its log has the cause under this request's x-request-id.", UNKNOWN, {}


def rpc_body(message: str, row: Row) -> dict[str, Any]:
    """JSON-RPC's shape: what a client of MCP shows its user. `data` has what OpenAI's would have said."""
    code = -32700 if row.code == UNPARSED else -32600 if row.status < 500 else -32603
    data = {"type": row.type, "param": row.param, "code": row.code}
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message, "data": data}}


def response(error: Exception, path: str) -> JSONResponse:
    """The error as a whole answer, in the shape that is spoken at this address."""
    message, row, headers = describe(error)
    return JSONResponse((rpc_body if path == MCP else body)(message, row), row.status, headers)


def install(app: FastAPI) -> None:
    """Answer with OpenAI's shape wherever FastAPI or a route raises; the door catches what no row names."""
    for kind in (*TABLE, ApiError, RequestValidationError):
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(HTTPException, _handle_http)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return response(error, request.scope["path"])


async def _handle_http(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        phrase = "There is no" if error.status_code == 404 else f"{request.method} is not possible at"
        said = f"{phrase} {request.scope['path']}. The routes are in /openapi.json."
        headers = {"Allow": ", ".join(_possible(request))} if error.status_code == 405 else error.headers
        error = HTTPException(error.status_code, said, headers)
    return response(error, request.scope["path"])


def _possible(request: Request) -> list[str]:
    """The methods of an address, over all of its routes: one that does not match names only its own."""
    routes: Sequence[BaseRoute] = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in ("GET", "POST", "DELETE")}
    return [m for m, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]


def _sentence(text: str) -> str:
    # A field's name keeps its case.
    first = text[:1].upper() if text.split(" ")[0].isalpha() else text[:1]
    return f"{first}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _retry(error: Exception, row: Row) -> dict[str, str]:
    if row.status not in (429, 503):
        return {}
    seconds = getattr(error, "retry_after", RETRY_SECONDS)
    told = {"Retry-After": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    # A longer wait they do not keep to: they would ask again at once, in vain.
    return {**told, "x-should-retry": "true" if seconds <= LONGEST_WAIT else "false"}


def _invalid(errors: Sequence[Any]) -> tuple[str, Row, dict[str, str]]:
    """FastAPI's first complaint, in one sentence."""
    first = errors[0]
    where = [part for part in first["loc"][1:] if first["type"] != "json_invalid"]
    param = name(where)
    match first["type"]:
        case "json_invalid":
            said = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
        case "missing" if param is None:
            said = "The body is missing. Send JSON with the header Content-Type: application/json."
        case "missing":
            said = f"Missing required parameter: '{param}'."
        case "extra_forbidden":
            said = f"Unknown parameter: '{param}'. Leave it out."
        case "value_error":
            said = first["msg"].removeprefix("Value error, ")
        case "model_attributes_type" | "dict_type" if param is None:
            said = "The body must be a JSON object, sent with the header Content-Type: application/json."
        case _:
            said = f"Invalid '{param}': {first['msg'][0].lower()}{first['msg'][1:]}."
    return said, Row(400, param=param, code=_code(first["type"])), {}


def _code(kind: str) -> str | None:
    known = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter", "json_invalid": None}
    return known.get(kind, "invalid_value")


def name(where: Sequence[str | int]) -> str | None:
    """`("messages", 0, "content")` as OpenAI writes it: messages[0].content."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or None


def closest(word: str, known: Sequence[str]) -> str:
    """` Did you mean x?`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
