"""`cogcore serve`: start, say what to try, run until stopped."""

import json
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from app import logs
from app.api.drain import Drain
from app.cli.progress import watch
from app.cores.load import UnknownCore
from app.engine.types import EngineError
from app.main import build, create_app, is_new
from app.settings import Settings, reachable
from index.errors import MemoryFault

# Together less than what process managers and docker/compose.yaml wait before they kill.
DRAIN_SECONDS, LEAVING_SECONDS = 22, 5
QUESTION = "For how many days is an invitation valid?"


def serve(settings: Settings) -> int:
    """Run the server; its exit status."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        bound = bind(settings.host, settings.port)
    except OSError as error:
        print(
            f"cogcore: cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Stop what listens there, or choose another COGCORE_PORT.",
            file=sys.stderr,
        )
        return 1
    with bound:
        where = f" served by {settings.core_url}" if settings.core_url else ""
        print(f"Loading the core '{settings.core}'{where} and the memory in {settings.data_dir} …", flush=True)
        new = is_new(settings.data_dir)
        try:
            parts = build(settings)
        except (MemoryFault, EngineError, UnknownCore) as error:
            print(f"cogcore: {error}", file=sys.stderr)
            return 1
        if new:
            # The question that is suggested wants the sample; whatever else still waits is read while we serve.
            watch(parts.memory)
        base = address(settings, bound.getsockname()[1])
        config = uvicorn.Config(
            create_app(parts),
            log_config=None,
            log_level=settings.log_level,
            access_log=False,  # it would tell the signatures of links; app.api.record writes ours
            timeout_graceful_shutdown=LEAVING_SECONDS,
            server_header=False,
        )
        # An interrupt is how a server is stopped, not how it fails.
        with suppress(KeyboardInterrupt):
            said = welcome(base, parts.link_key is not None)
            Server(config, lambda: print(said, flush=True), parts.drain).run(sockets=[bound])
    return 0


class Server(uvicorn.Server):
    """Calls `ready` when it has begun to listen. The first signal to stop begins the drain: what runs is finished, what
    is new is told to come again. A second one stops at once.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], drain: Drain) -> None:
        super().__init__(config)
        self.ready, self.drain = ready, drain
        self._stopped_by, self._until = 0, 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.drain.begun:
            super().handle_exit(sig, frame)
            return
        self.drain.begin()
        self._stopped_by, self._until = sig, time.monotonic() + DRAIN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        if self.drain.begun and not self.should_exit and (self.drain.idle or time.monotonic() > self._until):
            super().handle_exit(self._stopped_by, None)
        return await super().on_tick(counter)


def bind(host: str, port: int) -> socket.socket:
    """Take the port before the seconds of loading. Nothing is accepted until the server listens."""
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(where)
    except OSError:
        taken.close()
        raise
    return taken


def address(settings: Settings, port: int | None = None) -> str:
    """Where a client on this machine reaches the server."""
    if settings.public_url:
        return settings.public_url
    return f"http://{reachable(settings.host)}:{port or settings.port}"


def welcome(base: str, key: bool) -> str:
    """What to try, ready to be pasted."""
    body = json.dumps({"model": "cogcore", "messages": [{"role": "user", "content": QUESTION}]})
    secret = ' -H "Authorization: Bearer $COGCORE_API_KEY"' if key else ""
    opened = "os.environ['COGCORE_API_KEY']" if key else '"none"'
    start = "import os; from openai import OpenAI" if key else "from openai import OpenAI"
    return f"""
Cogcore is ready at {base}. Try it in another terminal:

curl -s {base}/v1/chat/completions -H 'Content-Type: application/json'{secret} -d '{body}'

or in Python (pip install openai):

{start}
client = OpenAI(base_url="{base}/v1", api_key={opened})
reply = client.chat.completions.create(model="cogcore", messages=[{{"role": "user", "content": "{QUESTION}"}}])
print(reply.choices[0].message.content)
print([cited["quote"] for cited in reply.cogcore["citations"]])

Your own documents: cogcore ingest DIR --store NAME, then ask the model cogcore/NAME.
"""
