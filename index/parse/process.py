"""The parent's side of the parser: warm child processes, borrowed one at a time, killed and replaced when they fail.

A process is started when first needed and kept for the next file, since starting one takes longer than reading most
files. As many run at once as threads call `parse`; at most `_KEPT` stay idle.
"""

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from index.errors import InvalidFile, UnsupportedFile
from index.parse.document import Block, Limits, Parsed
from index.parse.frames import receive, send
from index.parse.suffixes import FORMATS, READABLE, suffix_of

log = logging.getLogger(__name__)

_DEFAULT = Limits()
_KEPT = 2
_FILES_EACH = 500  # then a fresh process, so that no library's leak adds up
_START_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parents[2]


class _Worker:
    """One child process. Not thread-safe: borrow it."""

    def __init__(self) -> None:
        # Parsers need no secrets, so the child gets next to nothing of the server's environment.
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")
            if name in os.environ
        }
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "index.parse.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"},
        )
        self._sink, self._source = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self.files = 0
        with self._deadline(_START_SECONDS):
            ready = receive(self._source)
        if ready is None:
            self.close()
            raise RuntimeError("The parser process does not start; its own error is in the log above this one.")

    def ask(self, suffix: str, data: bytes, limits: Limits) -> dict[str, Any]:
        """The child's answer; InvalidFile when it did not live to give one."""
        self.files += 1
        head = json.dumps({"suffix": suffix, "limits": asdict(limits)}).encode()
        answer = None
        with self._deadline(limits.wall_seconds) as late:
            try:
                send(self._sink, head)
                send(self._sink, data)
                answer = receive(self._source, most=64 * limits.max_chars + 2**20)
            except BrokenPipeError:
                pass  # it died while we were writing; the exit status says why
        if answer is None:
            self.close()
            raise InvalidFile(_epitaph(self._process.returncode, late.is_set(), limits))
        reply: dict[str, Any] = json.loads(answer)
        return reply

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[threading.Event]:
        """Kills the child when the time is over; the event tells that this is what happened."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Kills and reaps. A child that is already dying keeps its own exit status."""
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._sink, self._source):
            with suppress(BrokenPipeError):
                pipe.close()


def _epitaph(status: int, late: bool, limits: Limits) -> str:
    """What killed the child, in words."""
    if late or status == -signal.SIGALRM:
        return f"The document took longer than {limits.wall_seconds:g} seconds to read; split it or simplify it."
    if status == -signal.SIGXCPU:
        return f"The document took more than {limits.cpu_seconds} seconds of CPU time to read; split it or simplify it."
    if status == -signal.SIGABRT:  # how Rust and C++ end when an allocation fails
        return _out_of_memory(limits)
    return f"The parser crashed on this document (status {status}); save it anew, or as plain text, and upload that."


def _out_of_memory(limits: Limits) -> str:
    return f"The document needs more than {limits.memory_bytes / 2**20:,.0f} MiB of memory to be read; split it."


_idle: list[_Worker] = []
_lock = threading.Lock()


@contextmanager
def _borrowed() -> Iterator[_Worker]:
    with _lock:
        worker = _idle.pop() if _idle else None
    if worker is not None and not worker.alive:  # somebody ended it between two files
        worker.close()
        worker = None
    worker = worker or _Worker()
    healthy = False
    try:
        yield worker
        healthy = worker.files < _FILES_EACH
    finally:
        with _lock:
            keep = healthy and len(_idle) < _KEPT
            if keep:
                _idle.append(worker)
        if not keep:
            worker.close()


@atexit.register
def _close() -> None:
    with _lock:
        workers, _idle[:] = _idle[:], []
    for worker in workers:
        worker.close()


def parse(filename: str, data: bytes, limits: Limits = _DEFAULT) -> Parsed:
    """Reads a document in a child process. UnsupportedFile or InvalidFile say what is wrong with it and what helps.

    Safe to call from many threads; each call that runs at the same time has its own process.
    """
    suffix = suffix_of(filename)
    if suffix not in FORMATS:
        raise UnsupportedFile(f"{suffix or 'A file without a suffix'} is not read; use one of {READABLE}.")
    if not data:
        raise InvalidFile("The file is empty (0 bytes); upload it again.")
    if len(data) > limits.max_bytes:
        size, most = len(data) / 2**20, limits.max_bytes / 2**20
        raise InvalidFile(f"The file has {size:,.1f} MiB and the limit is {most:,.1f} MiB; split it.")
    with _borrowed() as worker:
        reply = worker.ask(suffix, data, limits)
    match reply.get("fault"):
        case None:
            return Parsed(reply["text"], tuple(Block(*block) for block in reply["blocks"]), reply["pages"])
        case "UnsupportedFile":
            raise UnsupportedFile(reply["message"])
        case "InvalidFile":
            raise InvalidFile(reply["message"])
        case "MemoryError":
            raise InvalidFile(_out_of_memory(limits))
        case _:
            log.error("The parser failed on a %s file of %d bytes:\n%s", suffix, len(data), reply["message"])
            raise InvalidFile("The document could not be read (an error of the parser, now in the log); save it anew.")
