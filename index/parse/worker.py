"""The child process that opens untrusted files: one request at a time on stdin, one answer each on stdout.

Its limits are the kernel's (address space, CPU time, an alarm), so that no library can forget them. It writes no
files, and dies with its parent's pipe, also amid a file.
"""

import json
import os
import resource
import select
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from typing import BinaryIO

from index.errors import ParseError
from index.parse.document import Limits, Parsed
from index.parse.formats import read
from index.parse.frames import receive, send


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answers until `source` ends. A first empty frame tells that the imports went well."""
    send(sink, b"")
    while (head := receive(source)) is not None:
        data = receive(source)
        if data is None:
            return
        request = json.loads(head)
        limits = Limits(**request["limits"])
        _restrain(limits)
        send(sink, _answer(request["suffix"], data, limits))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _restrain(limits: Limits) -> None:
    """Soft limits anew for each file, since CPU time adds up over a process's life."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(spent.ru_utime + spent.ru_stime) + 1 + limits.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(limits.memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    # The parent keeps the time; the alarm is for the case that the parent is gone and a library lets no thread see it.
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds + 5)


def _answer(suffix: str, data: bytes, limits: Limits) -> bytes:
    try:
        return _encoded(read(suffix, data, limits))
    except ParseError as fault:
        reply = {"fault": type(fault).__name__, "message": str(fault)}
    except MemoryError:
        reply = {"fault": "MemoryError", "message": ""}
    except Exception:  # a library's or our own bug: the parent logs it and the file fails, alone
        reply = {"fault": "bug", "message": traceback.format_exc()}
    return json.dumps(reply).encode()


def _encoded(parsed: Parsed) -> bytes:
    blocks = [list(asdict(block).values()) for block in parsed.blocks]
    return json.dumps({"text": parsed.text, "blocks": blocks, "pages": parsed.pages}).encode()


def _end_with_parent() -> None:
    """A pipe hangs up when its last writer is gone, whatever still lies in it."""
    pipe = select.poll()
    pipe.register(sys.stdin, 0)
    pipe.poll()
    os._exit(0)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # Ctrl-C and systemd tell the whole group to stop. That is the parent's to handle: it may want this file yet.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not garble an answer
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
