"""The application: every route, behind one door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import (
    aliases,
    bundles,
    chat,
    completions,
    conversations,
    embeddings,
    errors,
    files,
    health,
    keys,
    mcp,
    metrics,
    models,
    passages,
    rerank,
    responses,
    reviews,
    store_files,
    stores,
)
from app.api.access import Access
from app.api.described import Described
from app.api.door import Door
from app.api.limits import KNOWN_QUERY
from app.api.parts import Parts
from app.api.record import Record
from app.api.trail import Trail


def create_app(parts: Parts) -> FastAPI:
    """The server over these parts, which it closes when it stops."""
    parts.memory.on_expiry(parts.core.engine.forget)
    sessions, runs = mcp.sessions(parts), responses.Runs(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with sessions.run(), reviews.sweeping(parts), runs.open():
                yield
        finally:
            await parts.close()

    # FastAPI's own pages of documentation load from a foreign host; /openapi.json stays.
    app = Described(title="Cogcore", version=health.VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    errors.install(app)
    for part in (
        *(chat, completions, embeddings, rerank, models),
        *(files, stores, store_files, aliases, bundles, conversations, reviews, keys),
    ):
        app.include_router(part.routes(parts), dependencies=[KNOWN_QUERY])
    app.include_router(responses.routes(parts, runs), dependencies=[KNOWN_QUERY])
    # Browsers, pages and probes add parameters of their own to links.
    app.include_router(passages.routes(parts))
    app.include_router(health.routes(parts))
    app.include_router(mcp.routes(sessions))
    app.include_router(metrics.routes(parts.metrics))
    if parts.settings.audit:
        app.add_middleware(Trail, audit=parts.audit)
    app.add_middleware(Door, settings=parts.settings, access=Access(parts), drain=parts.drain)
    app.add_middleware(Record, metrics=parts.metrics)
    return app
