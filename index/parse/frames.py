"""Length-prefixed messages over a pipe."""

import struct
from typing import BinaryIO

_LENGTH = struct.Struct("<Q")


def send(sink: BinaryIO, body: bytes) -> None:
    sink.write(_LENGTH.pack(len(body)))
    sink.write(body)
    sink.flush()


def receive(source: BinaryIO, most: int = 1 << 40) -> bytes | None:
    """The next message; None when the other end is gone or sends more than `most` bytes."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > most:
        return None
    body = source.read(length)
    return body if len(body) == length else None
