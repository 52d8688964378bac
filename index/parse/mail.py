"""E-mail (RFC 5322): who, when and about what, then the text, then each attachment as a section of its own.

Of alternatives the plain text is read, or else the HTML. What is not read is named where it hung.
"""

from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import PureWindowsPath
from typing import cast

from index.errors import InvalidFile, ParseError
from index.parse.document import Limits, Parsed, ReadPart, Rendering
from index.parse.plain import text
from index.parse.rich import html

_SHOWN = ("From", "To", "Cc", "Date")
_SEALED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")


def mail(data: bytes, limits: Limits, read_part: ReadPart) -> Parsed:
    message = message_from_bytes(data)
    if not any(name in message for name in ("From", "Date", "Subject", "Received")):
        raise InvalidFile("The file is no e-mail although its name says so; rename it or save it anew.")
    return _read(message, limits, read_part)


def _read(message: Message, limits: Limits, read_part: ReadPart) -> Parsed:
    if message.get_content_type() in _SEALED:
        raise InvalidFile("The e-mail is encrypted; save it decrypted, or as text, and upload that.")
    parts = list(_parts(message))
    if len(parts) > limits.max_members:
        raise InvalidFile(f"The e-mail has {len(parts):,} parts and the limit is {limits.max_members:,}; split it.")
    out = Rendering(limits.max_chars)
    out.add("heading", _header(message, "Subject") or "E-mail", level=1)
    out.lines("paragraph", (f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))))
    for part in parts:
        if _is_body(part):
            out.include(_body(part, limits), level=1)
    for part in parts:
        if not _is_body(part):
            _attach(part, out, limits, read_part)
    return out.done()


def _parts(message: Message) -> Iterator[Message]:
    """What is no container and no picture within the text, in order; of alternatives one."""
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    children = [child for child in message.get_payload() if isinstance(child, Message)]
    if message.get_content_subtype() == "alternative":
        plain = [child for child in children if child.get_content_type() == "text/plain" and _bytes(child).strip()]
        children = (plain or children[-1:])[:1]
    related = message.get_content_subtype() == "related"
    for child in children:
        if not _is_drawn(child, related):
            yield from _parts(child)


def _is_body(part: Message) -> bool:
    named = part.get_content_disposition() == "attachment" or part.get_filename()
    return part.get_content_type() in ("text/plain", "text/html") and not named


def _is_drawn(part: Message, related: bool) -> bool:
    """A picture within the text. What is attached has a Content-ID too, from Gmail and Outlook."""
    placed = related or part.get_content_disposition() != "attachment"
    return placed and "Content-ID" in part and part.get_content_maintype() == "image"


def _body(part: Message, limits: Limits) -> Parsed:
    data = _bytes(part)
    with suppress(LookupError, UnicodeError):  # a charset that is unknown or wrong: the reader finds out
        data = data.decode(part.get_content_charset() or "utf-8").encode()
    return (html if part.get_content_type() == "text/html" else text)(data, limits)


def _attach(part: Message, out: Rendering, limits: Limits, read_part: ReadPart) -> None:
    forwarded = part.get_content_type() == "message/rfc822" and part.is_multipart()
    name = PureWindowsPath(_decoded(part.get_filename() or "")).name
    name = name or ("E-mail" if forwarded else part.get_content_type())
    try:
        if forwarded:
            parsed = _read(cast(Message, part.get_payload(0)), limits, read_part)
        else:
            parsed = read_part(name, _bytes(part), limits)
    except ParseError as fault:
        out.add("paragraph", f"Attached, but not read: {name}. {fault}")
        return
    out.section(name, level=2)
    out.include(parsed, level=2)


def _bytes(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _header(message: Message, name: str) -> str:
    """Decoded twice: from the bytes, which should be ASCII and at times are not, and from its encoded words."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return _decoded(raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _decoded(value: str) -> str:
    with suppress(LookupError, ValueError, MessageError):  # else it is shown as it came
        value = str(make_header(decode_header(value)))
    return " ".join(value.split())
