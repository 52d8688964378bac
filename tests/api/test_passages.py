"""The page behind a citation: the quote is highlighted, and nothing of the document runs."""

import re
from html import unescape

import httpx
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from app.api.passages import page
from index.types import Chunk


def chunk(text: str) -> Chunk:
    return Chunk("c", "f", "<img src=x onerror=alert(1)>.md", text, 10, 10 + len(text), 3, ("<script>",))


@given(st.text(), st.integers(0, 40), st.integers(0, 40))
def test_text_comes_out_as_text(text: str, start: int, end: int) -> None:
    made = page(chunk(text), start, end)
    assert "<script" not in made
    assert "<img" not in made
    quote = made.partition("<blockquote>")[2].rpartition("</blockquote>")[0]
    marked = re.search("<mark>(.*)</mark>", quote, re.S)
    assert unescape(marked[1] if marked else "") == text[max(start - 10, 0) : max(end - 10, 0)]
    assert set(re.findall("<.*?>", quote)) <= {"<mark>", "</mark>"}


def test_the_page_of_a_hit(raw: httpx.Client, client: OpenAI) -> None:
    text = b"The <b>Sorne</b> & the <script>alert(1)</script> Ebb."
    file = client.files.create(file=("x.txt", text), purpose="assistants")
    client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
    found = raw.post("/v1/vector_stores/default/search", json={"query": "Ebb"}).json()["data"][0]
    answer = raw.get(f"/v1/passages/{found['chunk_id']}?start=4&end=16")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "The <mark>&lt;b&gt;Sorne&lt;/b&gt;</mark> &amp; the &lt;script&gt;" in answer.text
    assert not re.search(r"(src|href)\s*=", answer.text)


def test_unknown_passage(raw: httpx.Client) -> None:
    assert raw.get("/v1/passages/none").json()["error"]["code"] == "not_found"
    assert raw.get("/v1/passages/none?start=-1").json()["error"]["param"] == "start"
