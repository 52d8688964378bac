"""/v1/files: originals, uploaded once and kept as they came."""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated
from urllib.parse import quote
from weakref import WeakValueDictionary

from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from starlette.datastructures import FormData

from app.api.caller import Asking, Caller, SeenFile
from app.api.errors import ApiError
from app.api.listing import PagedFiles, Wire, listing
from app.api.parts import Parts
from index import types
from index.errors import FileNotFound
from index.facets import new_id

PURPOSES = ("assistants", "user_data", "batch", "fine-tune", "vision", "evals")
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"


def file_object(file: types.File) -> Wire:
    """OpenAI's File. Nothing is done to a file before a store has it, so it is at once `processed`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def routes(parts: Parts) -> APIRouter:
    router, memory = APIRouter(prefix="/v1/files", tags=["files"]), parts.memory
    # A client that gave up waiting asks again while the first upload still goes on.
    under_way: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @router.post("")
    async def upload(
        request: Request,
        caller: Asking,
        file: Annotated[UploadFile, File()],
        purpose: Annotated[str, Form(json_schema_extra={"enum": list(PURPOSES)})],
        idempotency_key: Annotated[
            str | None,
            Header(max_length=255, description="For a day, another request with the same one uploads nothing again."),
        ] = None,
    ) -> Wire:
        expires_at = _expiry(await request.form())
        if purpose not in PURPOSES:
            raise ApiError(f"Unknown purpose '{purpose}'. Use one of: {', '.join(PURPOSES)}.", param="purpose")
        if not file.filename:
            raise ApiError("The file has no name. Send one: its ending tells how to read it.", param="file")
        data = await file.read()
        if not data:
            raise ApiError(f"{file.filename} is empty. Upload a file with content.", param="file", code="empty_file")
        lock = asyncio.Lock()
        if idempotency_key:
            lock = under_way.setdefault((caller.key.id, idempotency_key), lock)
        once = partial(_once, caller, idempotency_key, file.filename, data, purpose, expires_at)
        # To its end, also when this request has none: the retry waits for it.
        return file_object(await asyncio.shield(_alone(lock, once)))

    async def _alone(lock: asyncio.Lock, once: Callable[[], types.File]) -> types.File:
        async with lock:
            return await asyncio.to_thread(once)

    def _once(
        caller: Caller, key: str | None, filename: str, data: bytes, purpose: str, expires_at: int | None
    ) -> types.File:
        """The file, made unless an earlier request with the same key did. All that leads to it is on the disk before it
        is: after a crash at any point the retry finds it, or makes it.
        """
        if key and (before := _before(caller, key, filename, data)):
            return before
        file_id = new_id("file-")
        if key:
            parts.uploads.note(caller.key.id, key, file_id)
        caller.uploaded(file_id)
        return memory.add_file(filename, data, purpose, expires_at, caller.organisation, file_id)

    def _before(caller: Caller, key: str, filename: str, data: bytes) -> types.File | None:
        """What an earlier request with the same key made, unless it was deleted since."""
        file_id = parts.uploads.find(caller.key.id, key)
        if file_id is None:
            return None
        try:
            before = memory.file(file_id)
        except FileNotFound:
            return None
        if (before.filename, before.sha256) != (filename, hashlib.sha256(data).hexdigest()):
            message = "This Idempotency-Key came with another file before. Use a new key for a new file."
            raise ApiError(message, param="Idempotency-Key", code="idempotency_key_reused")
        return before

    @router.get("")
    def files(
        caller: Asking,
        cut: PagedFiles,
        purpose: Annotated[str | None, Query()] = None,
    ) -> Wire:
        found = memory.files(cut.limit, cut.after, cut.before, cut.order, purpose, caller.sight)
        return listing(found, file_object)

    @router.get("/{file_id}")
    def file(file_id: SeenFile) -> Wire:
        return file_object(memory.file(file_id))

    @router.get("/{file_id}/content")
    def content(file_id: SeenFile) -> Response:
        # As a download: an uploaded page must never run as one of ours.
        name = quote(memory.file(file_id).filename, safe="")
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}"}
        return Response(memory.content(file_id), media_type="application/octet-stream", headers=headers)

    @router.delete("/{file_id}")
    def delete(file_id: SeenFile, caller: Asking) -> Wire:
        if caller.delete(file_id):
            parts.forget(file_id)
        parts.core.engine.forget(caller.cache_keys(parts.secret))
        return {"id": file_id, "object": "file", "deleted": True}

    return router


def _expiry(form: FormData) -> int | None:
    """When the file goes, by OpenAI's two form fields; the other fields have been read already."""
    for name in form:
        if name not in ("file", "purpose", ANCHOR, SECONDS):
            raise ApiError(f"Unknown parameter: '{name}'. Leave it out.", param=name, code="unknown_parameter")
    anchor, seconds = form.get(ANCHOR), form.get(SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise ApiError(f"'{ANCHOR}' must be created_at.", param=ANCHOR)
    if not isinstance(seconds, str) or not re.fullmatch("[0-9]{1,9}", seconds) or not 3600 <= int(seconds) <= 2_592_000:
        raise ApiError(f"'{SECONDS}' must be a whole number from 3600 to 2592000.", param=SECONDS)
    return int(time.time()) + int(seconds)
