"""The real embedder, loaded once, and memories in folders of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index.catalog import Catalog
from index.embed import Embedder, load_embedder
from index.memory import Memory
from index.types import Chunking, Scalar
from tests import postgres
from tests.fakes import HashedWords

Open = Callable[..., Memory]
OpenCatalog = Callable[[], Catalog]
CatalogUrl = Callable[[str], str]
EVERY_DATABASE = {f"tests.index.test_{name}" for name in ("aliases", "catalog", "ingest", "memory", "texts")}
SQLITE_ONLY = {
    "test_a_document_that_takes_the_process_down_is_given_up",  # these two are slow, and not about the database
    "test_swaps_under_load_fail_nobody_and_mix_nothing",
    "test_a_damaged_passage_is_mended_or_refused_never_shown",  # damages SQLite's file
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What these modules say holds wherever the catalog is."""
    if "catalog_url" in metafunc.fixturenames and metafunc.module.__name__ in EVERY_DATABASE:
        databases = ["sqlite"] if metafunc.function.__name__ in SQLITE_ONLY else ["sqlite", "postgres"]
        metafunc.parametrize("catalog_url", databases, indirect=True)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    programs = postgres.programs()
    if programs is None:
        pytest.skip(postgres.MISSING)
    started = postgres.Server(programs)
    yield started
    started.close()


@pytest.fixture
def catalog_url(request: pytest.FixtureRequest) -> CatalogUrl:
    """From the name of a data folder to the address of its catalog, which is new in each test."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return lambda folder: ""
    server: postgres.Server = request.getfixturevalue("server")
    known: dict[str, str] = {}

    def url(folder: str) -> str:
        if folder not in known:
            known[folder] = server.emptied(f"contract_{folder}")
        return known[folder]

    return url


@pytest.fixture
def open_catalog(tmp_path: Path, catalog_url: CatalogUrl) -> Iterator[OpenCatalog]:
    opened: list[Catalog] = []

    def open_one() -> Catalog:
        opened.append(Catalog(tmp_path / "catalog.sqlite", catalog_url("data")))
        return opened[-1]

    yield open_one
    for catalog in opened:
        catalog.close()


def put(
    memory: Memory, name: str, text: str, store: str = "default", chunking: Chunking | None = None, **attributes: Scalar
) -> str:
    """A document that is searchable; its file's id."""
    file = memory.add_file(name, text.encode())
    memory.attach(store, file.id, attributes, chunking)
    document = memory.wait(store, file.id, 60)
    assert document.status == "completed", document.last_error
    return file.id


def holding(folder: Path, data: bytes) -> list[str]:
    """The files in which these bytes stand as they are."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and data in path.read_bytes())


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture
def open_memory(tmp_path: Path, catalog_url: CatalogUrl) -> Iterator[Open]:
    """Opens a memory in tmp_path/data with hashed words, unless told otherwise, and closes what is left open."""
    opened: list[Memory] = []

    def open_one(folder: str = "data", **given: Any) -> Memory:
        url = catalog_url(folder)
        memory = Memory(tmp_path / folder, given.pop("embedder", None) or HashedWords(), catalog_url=url, **given)
        opened.append(memory)
        return memory

    yield open_one
    for memory in opened:
        memory.close()
