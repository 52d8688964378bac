"""One thread owns the model. A step runs every answer by a token or more, and prompts by as much as there is time for.

A request's way: submit (any thread) → waiting, bounded → admitted to a slot that knows the longest beginning of its
prompt → prefilled in pieces → one token a step, with those that its mask then forces and those that were drafted right
→ finished, its slot kept as cache. Whatever happens, each request gets one terminal outcome: a Token with `finish`, its
scores, or an EngineError.
Who is admitted next is decided in admission.py, what a step runs in plan.py, what it comes to in running.py, what is
remembered in cache.py.
"""

import logging
import threading
import time
from collections.abc import Callable

import torch

from app.engine.admission import Waiting
from app.engine.cache import Slots
from app.engine.meter import Meter, Usage
from app.engine.model import Decoder
from app.engine.outbox import post
from app.engine.plan import Planner
from app.engine.request import Request
from app.engine.running import Running
from app.engine.types import EngineBusy, EngineClosed

logger = logging.getLogger(__name__)


class Scheduler:
    """At most `max_sequences` requests run and `queue` new ones wait. `threads` sets torch's; `clock` tells seconds."""

    def __init__(
        self,
        decoder: Decoder,
        slots: Slots,
        planner: Planner,
        max_sequences: int,
        queue: int,
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.decoder = decoder
        self.slots = slots
        self.context = slots.cache.context
        self._planner, self._clock = planner, clock
        self._max_sequences, self._threads = max_sequences, threads
        self._meter = Meter()
        self._waiting = Waiting[Request](queue)
        self._running = Running(decoder, slots, planner, self._meter, clock)
        self._forgets: list[tuple[str | None, threading.Event]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._aborting = False
        self._stopped = False
        self._why_closed = "the engine is shutting down"
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # Any thread

    def submit(self, request: Request) -> None:
        """Raises EngineBusy or EngineClosed. One that has waited may hear EngineBusy in its place, see admission.py."""
        with self._changed:
            if self._closing:
                raise EngineClosed(self._why_closed)
            request.submitted = self._clock()
            if out := self._waiting.add(request):
                count = len(self._waiting)
                wait = max(0.5, self._running.seconds * count / self._max_sequences)
                busy = EngineBusy(f"{count} requests are waiting already; try again later", wait)
                self._meter.refused()
                if out is request:
                    raise busy
                post(out.loop, [(out, busy)])
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """The request's slot is free within one step. Nothing happens to one that is done."""
        with self._changed:
            request.cancelled = True
            if self._waiting.remove(request):
                self._meter.cancelled()

    def forget(self, key: str | None) -> None:
        """Erase what is cached under the keys that begin with `key`, or under any. Blocks for one step at most."""
        done = threading.Event()
        with self._changed:
            if self._stopped:
                return  # with the thread its cache is out of use
            self._forgets.append((key, done))
            self._changed.notify()
        done.wait()

    def close(self, grace: float) -> None:
        """Refuse new requests, give those accepted `grace` seconds, fail the rest, and wait for the thread's end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(grace)
        with self._changed:
            self._aborting = True
            self._changed.notify()
        self._thread.join()

    def usage(self) -> Usage:
        with self._changed:
            running, waiting = len(self._running), len(self._waiting)
        return self._meter.usage(
            running=running,
            waiting=waiting,
            slots=len(self.slots.slots),
            free_slots=self.slots.free,
            kept_slots=self.slots.kept,
        )

    # The engine's thread

    def _run(self) -> None:
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            with torch.inference_mode():
                while self._ready():
                    self._running.advance(self._planner.plan(self._running))
                    if self.decoder.on_cpu or not self._running:
                        self._running.outbox.deliver()
        except BaseException as exc:
            # Not for a request's faults, they are caught below: this is our own bug, or the end of memory.
            logger.exception("the engine's thread has died")
            self._why_closed = f"the engine's thread has died: {exc!r}"
        finally:
            with self._changed:
                self._closing = self._stopped = True
                left = [*self._running, *self._waiting]
                self._waiting = Waiting(0)
                for _, done in self._forgets:
                    done.set()
            for request in left:
                request.slot = None  # its cache is out of use, and may be what has failed
                self._running.finish(request, EngineClosed(self._why_closed))
            self._running.outbox.deliver()

    def _ready(self) -> bool:
        """Wait for work and admit what fits. False when there is none and none will come."""
        for request in [request for request in self._running if request.cancelled]:
            self._meter.cancelled()
            self._running.release(request)
        with self._changed:
            while not (self._running or self._waiting or self._closing or self._forgets):
                self._changed.wait()
            if self._aborting or not (self._running or self._waiting or self._forgets):
                return False
        while self._forgets:  # others only add
            key, done = self._forgets.pop(0)
            try:
                self._forget(key)
            finally:
                done.set()
        for _ in range(self._max_sequences - len(self._running)):
            if admitted := self._next():
                try:
                    self._running.admit(admitted)
                except Exception as exc:
                    self._running.fail(admitted, exc)
        return True

    def _forget(self, key: str | None) -> None:
        with self._changed:
            for request in self._waiting:
                request.doomed |= request.whose.key.startswith(key or "")
        self.slots.forget(key)

    def _next(self) -> Request | None:
        with self._changed:  # a request is always waiting, running or done
            if not self._waiting:
                return None
            request = self._waiting.pop(self._continues)
            self._running.add(request)
            return request

    def _continues(self, request: Request) -> bool:
        return self.slots.knows(request.ids, request.whose.key, request.prompt // 2 + 1)
