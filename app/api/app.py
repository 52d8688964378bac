"""The application: every route, behind one door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import aliases, chat, completions, errors, files, health, models, passages, reviews, store_files, stores
from app.api.door import Door
from app.api.parts import Parts


def create_app(parts: Parts) -> FastAPI:
    """The server over these parts, which it closes when it stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with reviews.sweeping(parts):
                yield
        finally:
            await parts.close()

    # FastAPI's own pages of documentation load from a foreign host; /openapi.json stays.
    app = FastAPI(title="Cogcore", docs_url=None, redoc_url=None, lifespan=lifespan)
    errors.install(app)
    for part in (chat, completions, models, files, stores, store_files, aliases, passages, reviews, health):
        app.include_router(part.routes(parts))
    app.add_middleware(Door, settings=parts.settings)
    return app
