"""How a log is written: JSON lines that keep an error's own words back, and what is let through."""

import json
import logging
import subprocess
import sys

from app.logs import JsonLines

CANARY = "zyzzyva"
SAYS = """
import logging
from app import logs
logs.configure("info", "{form}")
logging.getLogger("cogcore.http").info("started")
logging.getLogger("cogcore.http").debug("not told")
logging.getLogger("elsewhere").info("not told")
logging.getLogger("uvicorn.error").info("listening")
"""


def test_an_error_keeps_its_words_to_itself() -> None:
    record: logging.LogRecord
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"no {CANARY}") from error
    except ValueError:
        record = logging.LogRecord("cogcore.http", logging.ERROR, __file__, 1, "%s failed", ("req_1",), sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "cogcore.http", "req_1 failed")
    assert (line["error"], line["cause"]["error"]) == ("ValueError", "KeyError")
    assert line["raised_in"][0].endswith("in test_an_error_keeps_its_words_to_itself".removeprefix("in "))
    assert CANARY not in json.dumps(line)


def said(form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SAYS.format(form=form)], capture_output=True, text=True, check=True)
    assert not done.stdout
    return done.stderr.splitlines()


def test_both_forms_say_the_same() -> None:
    assert said("text") == ["INFO cogcore.http: started", "INFO uvicorn.error: listening"]
    lines = [json.loads(line) for line in said("json")]
    assert [(line["logger"], line["message"]) for line in lines] == [
        ("cogcore.http", "started"),
        ("uvicorn.error", "listening"),
    ]
