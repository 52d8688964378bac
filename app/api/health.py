"""Whether the server lives, whether it can answer, and what it is."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter

from app.api.listing import Wire
from app.api.models import DEFAULT
from app.api.parts import Parts


def _version() -> str:
    try:
        return version("cogcore")
    except PackageNotFoundError:
        # Run from a checkout that was never installed.
        return "unknown"


def routes(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    @router.get("/healthz")
    async def health() -> Wire:
        return {"status": "ok"}

    @router.get("/readyz")
    def ready() -> Wire:
        # Fails, and so says not ready, when the catalog cannot be read.
        parts.memory.store(DEFAULT)
        return {"status": "ready"}

    @router.get("/version")
    async def about() -> Wire:
        return {"name": "cogcore", "version": _version(), "core": parts.settings.core}

    return router
