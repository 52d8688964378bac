"""Archives: one document, with a section for each file in it, under the file's path.

An upload is one file to its owner, so it stays one document: deleted, replaced and cited as one, and each passage says
in its headings which file it is from. Nothing is ever written to a disk. Archives within archives stay closed; hidden
files are left out, as they are in folders; what cannot be read is listed at the end.
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator

from index.errors import InvalidFile, ParseError
from index.parse.document import Limits, Parsed, ReadPart, Rendering
from index.parse.zipped import allowance, bomb, members

_TOLD = 100  # files that could not be read, by name


def zip_(data: bytes, limits: Limits, read_part: ReadPart) -> Parsed:
    return _read(members(data, limits), limits, read_part)


def tar(data: bytes, limits: Limits, read_part: ReadPart) -> Parsed:
    return _read(_untarred(data, limits), limits, read_part)


def tar_gz(data: bytes, limits: Limits, read_part: ReadPart) -> Parsed:
    return tar(_gunzipped(data, limits), limits, read_part)


def _read(files: Iterable[tuple[str, bytes]], limits: Limits, read_part: ReadPart) -> Parsed:
    out = Rendering(limits.max_chars)
    unread = []
    read = 0
    for number, (path, data) in enumerate(files):
        if number == limits.max_members:
            raise InvalidFile(f"The archive has more than {limits.max_members:,} files; split it.")
        names = [name for name in re.split(r"[\\/]+", path) if name not in ("", ".", "..")]
        if any(name.startswith(".") or name == "__MACOSX" for name in names):
            continue
        name = "/".join(names)
        try:
            parsed = read_part(name, data, limits)
        except ParseError as fault:
            unread.append(f"- {name}: {fault}")
        else:
            out.section(name, level=1)
            out.include(parsed, level=1)
            read += 1
    if not read:
        raise InvalidFile(f"No file in the archive can be read. {' '.join(unread[:3])}".strip())
    if unread:
        out.add("heading", "Files that were not read", level=1)
        more = [f"- and {len(unread) - _TOLD:,} more"] if len(unread) > _TOLD else []
        out.lines("list", unread[:_TOLD] + more)
    return out.done()


def _untarred(data: bytes, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Regular files only: no links, no devices. A sparse file may claim any size, so claims are counted."""
    most = left = limits.max_unpacked_bytes
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    continue
                left -= member.size
                if left < 0:
                    raise bomb(most)
                yield member.name, stream.read()
    except (tarfile.TarError, EOFError, ValueError, OSError) as fault:
        raise InvalidFile("The tar archive is damaged or cut off, or is none; pack it again.") from fault


def _gunzipped(data: bytes, limits: Limits) -> bytes:
    most = left = allowance(data, limits)
    blocks = []
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while block := stream.read(2**20):
                left -= len(block)
                if left < 0:
                    raise bomb(most)
                blocks.append(block)
    except (EOFError, OSError, zlib.error) as fault:
        raise InvalidFile("The archive is damaged or cut off; pack it again.") from fault
    return b"".join(blocks)
