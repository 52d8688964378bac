"""GET /v1/passages/{chunk_id}: the page behind a citation. No script, nothing from another host, all text escaped."""

from html import escape
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from app.api.caller import Asking
from app.api.parts import Parts
from app.api.signature import sign
from index.types import Chunk

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 44rem; margin: 3rem auto; padding: 0 1rem; font: 1.05rem/1.6 system-ui, sans-serif;
  color: #222; background: #fff }}
h1 {{ font-size: 1.2rem; margin: 0; overflow-wrap: anywhere }} p {{ color: #666; margin: .2rem 0 1.5rem }}
blockquote {{ margin: 0; padding-left: 1rem; border-left: 3px solid #ccc; white-space: pre-wrap;
  overflow-wrap: anywhere }}
mark {{ background: #ffe58a; color: #222 }}
@media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #161616 }} p {{ color: #999 }} }}
</style></head>
<body><h1>{title}</h1><p>{place}</p><blockquote>{text}</blockquote></body></html>
"""
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Referrer-Policy": "no-referrer"}


def page(chunk: Chunk, start: int, end: int) -> str:
    """The passage with the document's text[start:end] highlighted; an empty or foreign stretch highlights nothing."""
    begin, finish = max(start - chunk.start, 0), min(end - chunk.start, len(chunk.text))
    text = escape(chunk.text)
    if begin < finish:
        before, quoted, after = chunk.text[:begin], chunk.text[begin:finish], chunk.text[finish:]
        text = f"{escape(before)}<mark>{escape(quoted)}</mark>{escape(after)}"
    place = [f"page {chunk.page}"] if chunk.page is not None else []
    place += [" › ".join(chunk.headings)] if chunk.headings else []
    place += [f"characters {chunk.start} to {chunk.end}"]
    return PAGE.format(title=escape(chunk.filename), place=escape(" · ".join(place)), text=text)


def link(base_url: str, key: bytes | None, chunk_id: str, start: int, end: int) -> str:
    """Where the passage can be read, the document's text[start:end] highlighted; signed, if there is a key."""
    signed = f"&signature={sign(key, f'/v1/passages/{chunk_id}')}" if key else ""
    return f"{base_url}/v1/passages/{quote(chunk_id, safe='')}?start={start}&end={end}{signed}"


def routes(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/v1/passages", tags=["passages"])

    @router.get("/{chunk_id}", response_class=HTMLResponse)
    def passage(
        chunk_id: str,
        caller: Asking,
        start: Annotated[int, Query(ge=0)] = 0,
        end: Annotated[int, Query(ge=0)] = 0,
    ) -> HTMLResponse:
        return HTMLResponse(page(parts.memory.chunk(chunk_id, caller.sight), start, end), headers=HEADERS)

    return router
