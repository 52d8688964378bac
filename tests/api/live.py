"""A real server on a free port, in a thread, for as long as a test needs it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp

from app.api import Parts, create_app
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.settings import read
from index.memory import Memory
from tests.fakes import HashedWords, ScriptedEngine


@contextmanager
def live(parts: Parts, around: Callable[[ASGIApp], ASGIApp] = lambda app: app, port: int = 0) -> Iterator[str]:
    """Its base URL. The parts are closed with it. `around` stands between it and its clients, as a bad network does."""
    with listening(around(create_app(parts)), lifespan="on", port=port) as base_url:
        yield base_url


@contextmanager
def listening(app: ASGIApp, lifespan: Literal["on", "off"] = "off", port: int = 0) -> Iterator[str]:
    """The base URL of any application."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="warning", lifespan=lifespan)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def scripted(engine: ScriptedEngine, folder: Path, profile: str = "tiny", port: int = 0, **given: Any) -> Iterator[str]:
    """The base URL of a server whose core writes what the engine is told, over an empty memory."""
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES[profile], engine)
    with live(Parts(core, Memory(folder, HashedWords()), read(data_dir=folder, **given)), port=port) as base_url:
        yield base_url
