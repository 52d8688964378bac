"""Our real server as its users start it: a process of its own, with a key, over a new memory that holds the sample."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOG = "server.log"
READY = re.compile(r"Cogcore is ready at (http://\S+)\.")


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    key: str


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that answers, with its data and its log in the folder. Raises RuntimeError when it does not start."""
    key = secrets.token_hex(16)
    own = {name: value for name, value in os.environ.items() if not name.startswith("COGCORE_")}
    given = {
        "COGCORE_PORT": "0",
        "COGCORE_API_KEY": key,
        "COGCORE_DATA_DIR": str(folder / "data"),
        "COGCORE_LOG_LEVEL": "warning",
    }
    with (folder / LOG).open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=ROOT,
            env=own | given,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if ready := READY.search(line):
                    yield Server(ready[1], key)
                    break
            else:
                raise RuntimeError(f"the server did not start:\n{Path(log.name).read_text('utf-8')}")
        finally:
            process.terminate()
            process.communicate()
