"""The audit log: a JSON line for each change, saying who made it, when, and to what. No word of a document, no secret.

The file is opened for each line, so it may be moved away at any time, and a new one begins. Lines are on the disk when
the change is answered.
"""

import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Audit:
    """The log of one data folder."""

    path: Path

    def note(
        self, key: str, organisation: str, action: str, changed: Mapping[str, str], request_id: str | None = None
    ) -> None:
        """`key` is an API key's id, or who used a command; `changed` are ids by their names."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"time": moment, "key": key, "organisation": organisation, "action": action, "object": dict(changed)}
        said = json.dumps({**line, "request_id": request_id}, ensure_ascii=False) + "\n"
        # One write at the end of the file: lines of several processes do not mix.
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(opened, said.encode())
            os.fsync(opened)
        finally:
            os.close(opened)

    def last(self, count: int) -> list[str]:
        """The newest lines, oldest first."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8") as lines:
            return [line.rstrip("\n") for line in deque(lines, maxlen=count)]
