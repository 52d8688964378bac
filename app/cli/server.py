"""The server that a command talks to: the one that runs at COGCORE_HOST and COGCORE_PORT, else one in this process.

Both are spoken to over the same HTTP interface, so that a command has one way of doing things. A data folder belongs
to one process: with a server running, nothing is opened here.
"""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
from pydantic import SecretStr

from app.cli.progress import watch
from app.keys import FILE as KEYS
from app.keys import Keys
from app.settings import Settings, reachable
from index.errors import MemoryFault

Wire = dict[str, Any]

GREETING = 2  # seconds: slow answers are fine, a slow greeting on this machine is not
PATIENT = httpx.Timeout(600, connect=GREETING)
ENDLESS = httpx.Timeout(None, connect=GREETING)  # for a whole store, which is as large as it is


class ServerError(Exception):
    """The server's own words for why it refused."""


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient | None]:
    """A client of the running server; None when none runs."""
    options = _options(settings)
    try:
        async with httpx.AsyncClient(**options) as client:
            yield client if await _runs(client) else None
    except httpx.HTTPError as error:
        raise ServerError(f"{options['base_url']}: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, bool]]:
    """A client of the running server, or of one made here; and whether one runs, so that its links lead somewhere."""
    async with served(settings) as running:
        if running is not None:
            yield running, True
            return
    refuse_made_key(settings)
    base = address(settings)
    print(f"No server runs at {base}: opening {settings.data_dir} here …", file=sys.stderr, flush=True)
    # Loads torch, for which a client of a running server need not wait.
    from app.cores.load import UnknownCore
    from app.engine.types import EngineError
    from app.main import build, create_app

    # Whoever may open the folder needs no key that was made for others.
    own = settings.model_copy(update={"api_key": settings.api_key or SecretStr(secrets.token_urlsafe())})
    options = _options(own)
    try:
        parts = build(own)
    except (MemoryFault, EngineError, UnknownCore) as error:
        raise ServerError(str(error)) from error
    try:
        await asyncio.to_thread(watch, parts.memory)
        options["transport"] = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(**options) as client:
            yield client, False
    finally:
        await parts.close()


def refuse_made_key(settings: Settings) -> None:
    """Raise ServerError where COGCORE_API_KEY was made for clients.

    Whoever opens the folder acts for the organisation `default`, and that key for its own.
    """
    if settings.api_key is None:
        return
    try:
        with closing(Keys(settings.data_dir / KEYS)) as keys:
            organisation = keys.organisation_of(settings.api_key.get_secret_value())
    except MemoryFault as error:
        raise ServerError(str(error)) from error
    if organisation is not None:
        raise ServerError(
            f"No server runs at {address(settings)}, and COGCORE_API_KEY is a key of the organisation "
            f"'{organisation}': start the server, or unset COGCORE_API_KEY."
        )


def address(settings: Settings) -> str:
    return f"http://{reachable(settings.host)}:{settings.port}"


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "base_url": address(settings),
        "headers": _bearer(settings),
        "timeout": PATIENT,
        # No proxy stands before this machine.
        "trust_env": False,
    }


def _bearer(settings: Settings) -> dict[str, str]:
    key = settings.api_key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}


async def _runs(client: httpx.AsyncClient) -> bool:
    try:
        about = await call(client, "GET", "/version")
    except httpx.ConnectError:
        return False
    if about.get("name") != "cogcore":
        raise ServerError(f"{client.base_url} is another server than Cogcore. Set COGCORE_PORT to another port.")
    return True


async def call(client: httpx.AsyncClient, method: str, path: str, **given: Any) -> Wire:
    """The JSON that a route answers; ServerError when it refuses."""
    return checked(await client.request(method, path, **given))


def checked(response: httpx.Response) -> Wire:
    """The body of a success; raises ServerError with the server's words otherwise."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and response.is_success:
        return body
    error = body.get("error") if isinstance(body, dict) else None
    raise ServerError(error["message"] if isinstance(error, dict) else f"{response.url}: HTTP {response.status_code}")


async def everything(client: httpx.AsyncClient, path: str) -> list[Wire]:
    """All items of a listing, page by page."""
    found: list[Wire] = []
    while True:
        after = {"after": found[-1]["id"]} if found else {}
        page = await call(client, "GET", path, params={"limit": 100, "order": "asc", **after})
        found += page["data"]
        if not page["has_more"]:
            return found
