"""/v1/cogcore/stores: a store as one file that leaves the server, and one that comes in."""

import asyncio
from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from app.api.aliases import AliasObject, alias_object
from app.api.caller import Asking, SeenStore
from app.api.door import IMPORT
from app.api.listing import Wire
from app.api.parts import Parts

PIECE = 1 << 20
ZIP = "application/zip"
FILE = {"schema": {"type": "string", "format": "binary"}}
BINARY: dict[str, Any] = {"content": {ZIP: FILE}}
GIVEN: dict[str, Any] = {"required": True, "content": {ZIP: FILE, "application/octet-stream": FILE}}


class ImportObject(BaseModel):
    """The store that was made of a bundle."""

    id: str
    object: Literal["cogcore.import"]
    name: str
    version: int
    documents: int
    chunks: int
    vectors: Literal["kept", "made again"] = Field(description="As they were, or from the texts by this embedder")
    expired: int = Field(description="Documents of the bundle that had expired, and were left out")
    alias: AliasObject | None = Field(description="The alias that points to the store now, if one was asked for")


class Download(StreamingResponse):
    """A file that is sent and closed, whoever hangs up."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        headers = {
            "Content-Length": str(size),
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}",
        }
        super().__init__(_pieces(file), headers=headers, media_type=ZIP)
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def routes(parts: Parts) -> APIRouter:
    router, memory = APIRouter(tags=["bundles"]), parts.memory

    @router.get(
        "/v1/cogcore/stores/{store_id}/export",
        response_class=Response,
        responses={200: BINARY | {"description": "The bundle"}},
    )
    def export(store_id: SeenStore) -> Download:
        """What can be found in the store as one file: see `POST /v1/cogcore/stores/import`."""
        store = memory.store(store_id)
        spool = memory.spool()
        try:
            memory.exporter.export(store.id, spool)
        except BaseException:
            spool.close()
            raise
        return Download(spool, f"{store.name or store.id}.cogcore.zip")

    @router.post(IMPORT, response_model=ImportObject, openapi_extra={"requestBody": GIVEN})
    async def import_(
        request: Request,
        caller: Asking,
        name: Annotated[str | None, Query(description="Of the new store; else the bundle's own")] = None,
        alias: Annotated[str | None, Query(description="To be pointed to the store once all of it is there")] = None,
        reembed: Annotated[bool, Query(description="Make vectors of another embedder again, which takes long")] = False,
    ) -> Wire:
        """A new store of what was exported, which is the body. It is there as a whole, or not at all."""
        if alias is not None:
            await asyncio.to_thread(memory.aliases.check, alias, caller.organisation)
        with memory.spool() as spool:
            held = bytearray()
            async for piece in request.stream():
                held += piece
                if len(held) >= PIECE:
                    await asyncio.to_thread(spool.write, bytes(held))
                    held.clear()
            spool.write(held)
            taken = () if alias is None else (alias,)
            made = await asyncio.to_thread(
                memory.importer.import_, spool, name, reembed=reembed, taken=taken, owner=caller.organisation
            )
        store, pointed = made.store, None
        if alias is not None:
            pointed = alias_object(await asyncio.to_thread(memory.aliases.set, alias, store.id, caller.sight))
        return {
            "id": store.id,
            "object": "cogcore.import",
            "name": store.name,
            "version": store.version,
            "documents": made.documents,
            "chunks": made.chunks,
            "vectors": "kept" if made.vectors_kept else "made again",
            "expired": made.expired,
            "alias": pointed,
        }

    return router
