"""The server as its users run it, in a process of its own with an empty memory but for the sample."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from app.settings import PREFIX

SERVE = (sys.executable, "-m", "app", "serve")
PATIENCE = 300.0  # seconds until it is ready
GRACE = 60.0  # and until it has ended


class NoServer(Exception):
    """It has not started; the message is what it said."""


@contextmanager
def serving(url: str | None, **settings: object) -> Iterator[str]:
    """The URL as it is, or that of a server started with these settings for as long as it is needed."""
    if url is not None:
        yield url.rstrip("/")
        return
    with TemporaryDirectory() as folder, started(Path(folder), SERVE, **settings) as (base, process):
        try:
            yield base
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Let it end by itself, its own processes too, if it does in time."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


@contextmanager
def started(
    folder: Path, command: Sequence[str], ready: str = "/readyz", /, **settings: object
) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """The URL of a server on `folder`/data, once it is ready, and its process, which is killed in the end."""
    port = _free_port()
    # Nobody's settings but these: an API key, say, would close the door.
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    given = {"host": "127.0.0.1", "port": port, "data_dir": folder / "data", "log_level": "error", **settings}
    env |= {PREFIX + name.upper(): str(value) for name, value in given.items()}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)  # noqa: S603 (ours, or a test's)
    try:
        _await(f"http://127.0.0.1:{port}{ready}", process, log)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if httpx.get(url, timeout=10, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(f"the server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)
