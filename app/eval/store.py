"""Readies a store over HTTP: uploads what is missing, and waits until everything in it can be found."""

import mimetypes
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from app.eval.ask import refusal
from app.eval.questions import EvalError

POLL = 1.0
DEFAULT = "default"


class Library:
    """The files and stores of one server."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.client = httpx.Client(base_url=base_url, headers=headers, timeout=120)

    def ready(self, name: str | None, documents: Path | None) -> None:
        """The store of this name, with every file below `documents` in it, once nothing in it is in progress."""
        store = self._find(name or DEFAULT)
        if store is None and documents is None:
            raise EvalError(f"--store: there is no store named {name}. Ingest into it first, or name --documents.")
        store = store or self._call("POST", "/v1/vector_stores", json={"name": name})
        if documents is not None:
            self._add(store["id"], documents)
        self._wait(store["id"])

    def _find(self, name: str) -> dict[str, Any] | None:
        return next((s for s in self._all("/v1/vector_stores") if name in (s["name"], s["id"], *s["aliases"])), None)

    def _add(self, store_id: str, documents: Path) -> None:
        if not documents.is_dir():
            raise EvalError(f"--documents: {documents} is no folder.")
        names = {file["id"]: file["filename"] for file in self._all("/v1/files", limit=10000)}
        here = {names.get(member["id"]) for member in self._all(f"/v1/vector_stores/{store_id}/files")}
        for path in sorted(p for p in documents.rglob("*") if p.is_file()):
            if path.name in here:
                continue
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            upload = {"file": (path.name, path.read_bytes(), kind)}
            added = self._call("POST", "/v1/files", files=upload, data={"purpose": "assistants"})
            self._call("POST", f"/v1/vector_stores/{store_id}/files", json={"file_id": added["id"]})

    def _wait(self, store_id: str) -> None:
        while (counts := self._call("GET", f"/v1/vector_stores/{store_id}")["file_counts"])["in_progress"]:
            sys.stderr.write(f"{counts['in_progress']} documents are being read\n")
            time.sleep(POLL)
        if not counts["completed"]:
            raise EvalError("--store: the store holds no document that could be read. Ingest some first.")
        if counts["failed"]:
            sys.stderr.write(f"{counts['failed']} documents of the store could not be read\n")

    def _all(self, path: str, limit: int = 100) -> Iterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            page = self._call("GET", path, params={"limit": str(limit), **after})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def _call(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        try:
            response = self.client.request(method, path, **given)
        except httpx.ConnectError as error:
            raise EvalError(f"--base-url: no server answers at {self.client.base_url}. Start one: {error}") from error
        if not response.is_success:
            raise EvalError(refusal(response))
        body: dict[str, Any] = response.json()
        return body

    def close(self) -> None:
        self.client.close()
