"""`cogcore alias`: names that point to stores, listed and moved."""

import asyncio
import sys
from urllib.parse import quote

import httpx

from app.cli.server import ServerError, Wire, call, connected, everything
from app.settings import Settings

PATH = "/v1/cogcore/aliases"


def alias(settings: Settings, action: str, name: str = "", store: str = "") -> int:
    """Print where the aliases point then; the exit status."""
    try:
        print(asyncio.run(_alias(settings, action, name, store)))
    except ServerError as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    return 0


async def _alias(settings: Settings, action: str, name: str, store: str) -> str:
    async with connected(settings) as (client, _):
        one = f"{PATH}/{quote(name, safe='')}"
        match action:
            case "set":
                shown = [await call(client, "POST", one, json={"vector_store_id": store})]
            case "rollback":
                shown = [await call(client, "POST", f"{one}/rollback")]
            case "remove":
                await call(client, "DELETE", one)
                return f"{name} is no alias any more."
            case _:
                shown = await everything(client, PATH)
        return await _told(client, shown)


async def _told(client: httpx.AsyncClient, aliases: list[Wire]) -> str:
    """A line for each, with the stores' names where they have one."""
    stores = await everything(client, "/v1/vector_stores")
    names = {s["id"]: f"{s['name']} ({s['id']})" for s in stores if s["name"]}
    lines = []
    for one in aliases:
        before = ", ".join(names.get(store, store) for store in one["before"])
        points = names.get(one["vector_store_id"], one["vector_store_id"])
        lines.append(f"{one['id']} -> {points}" + (f"; before: {before}" if before else ""))
    return "\n".join(lines)
