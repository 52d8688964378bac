"""One server over the real models for the tests of a module, and OpenAI's own client to talk to it."""

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI

from app.api import Parts
from app.cores.load import load_core
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder
from tests.api.live import live

RIVERS = b"""# Rivers

The Sorne is the longest river of the valley. It is 312 kilometres long and ends in Lake Arven.

The Little Ebb is a side arm of the Sorne. Its bridge was built in 1874 by the engineer Ada Brandt.
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader, device: str) -> Parts:
    """Closed by the server that is made of them."""
    folder = tmp_path_factory.mktemp("data")
    memory = Memory(folder, embedder, reader)
    return Parts(load_core(device=device, threads=1), memory, read(data_dir=folder, max_upload_mb=2))


@pytest.fixture(scope="module")
def server(parts: Parts) -> Iterator[str]:
    with live(parts) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def raw(server: str) -> Iterator[httpx.Client]:
    """For requests that OpenAI's client would not send."""
    with httpx.Client(base_url=server, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def rivers(client: OpenAI) -> str:
    """The id of a document that is searchable in the store `default`."""
    file = client.files.create(file=("rivers.md", RIVERS), purpose="assistants")
    attached = client.vector_stores.files.create_and_poll(file.id, vector_store_id="default")
    assert attached.status == "completed", attached.last_error
    return file.id
