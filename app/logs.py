"""How the server's log is written: as text, or as one JSON object on each line for whatever collects logs."""

import json
import logging
import time
import traceback
from typing import Any

TEXT = "%(levelname)s %(name)s: %(message)s"
OURS = ("app", "cogcore", "index", "uvicorn")


class JsonLines(logging.Formatter):
    """`extra={"fields": {...}}` of a record becomes its keys.

    An error is told as its kind and where it was raised, without its own words: those may hold words of a document or
    of a question.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "logger": record.name}
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line |= _error(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, form: str) -> None:
    """Our own messages from `level` on, other libraries' from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level="WARNING", handlers=[handler])
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


def _error(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    cause = error.__cause__ or error.__context__
    told = {"error": type(error).__name__, "raised_in": [f"{f.filename}:{f.lineno} {f.name}" for f in frames]}
    return {**told, "cause": _error(cause)} if cause else told
