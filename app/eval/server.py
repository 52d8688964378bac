"""The real server on a free port of this machine, for as long as a measurement takes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.eval.questions import EvalError
from app.main import build, create_app
from app.settings import Settings
from index.errors import MemoryFault

PATIENCE = 300.0


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """Its base URL. The same settings as `cogcore serve`, but for the address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = settings.model_copy(update={"host": "127.0.0.1", "port": port})
    try:
        parts = build(settings)
    except MemoryFault as error:
        listener.close()
        raise EvalError(f"{error} Or ask the server that runs already, with --base-url.") from error
    server = uvicorn.Server(uvicorn.Config(create_app(parts), log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        _await_start(server, thread)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise EvalError("The server did not start; its log says why.")
        time.sleep(0.05)
