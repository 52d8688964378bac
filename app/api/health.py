"""Whether the server lives, whether it can answer, and what it is."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import APIRouter

from app.api.listing import Wire
from app.api.parts import Parts
from index.memory import DEFAULT_STORE


def _version() -> str:
    try:
        return version("cogcore")
    except PackageNotFoundError:
        # A checkout that was never installed says it in its own file.
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"]) if project.is_file() else "unknown"


VERSION = _version()


def routes(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["health"])
    about = {"name": "cogcore", "version": VERSION, "core": parts.settings.core}

    @router.get("/health")
    @router.get("/healthz")
    async def health() -> Wire:
        return {"status": "ok"}

    @router.get("/readyz")
    def ready() -> Wire:
        parts.drain.check()
        # Fails, and so says not ready, when the catalog cannot be read.
        parts.memory.store(DEFAULT_STORE)
        return {"status": "ready"}

    @router.get("/version")
    async def what() -> Wire:
        return about

    return router
