"""Where the parts meet: what a new data folder holds, and what a start that fails leaves behind."""

from contextlib import closing
from pathlib import Path

import pytest

from app.api.errors import describe
from app.cores.load import UnknownCore
from app.engine.types import UnsupportedModel
from app.main import build, open_memory
from app.sample import documents
from app.settings import read
from index.errors import FaissRefused, FolderFault, MilvusAway


def test_only_a_new_memory_gets_the_sample(tmp_path: Path) -> None:
    settings = read(data_dir=tmp_path / "data", reader="none")
    with closing(open_memory(settings)) as memory:
        files = memory.files(limit=100).data
        assert {file.filename for file in files} == {path.name for path in documents()}
        assert sum(memory.store("default").counts.values()) == len(files)
        for file in files:
            memory.delete_file(file.id)
    # Who threw it away does not want it back.
    with closing(open_memory(settings)) as memory:
        assert memory.files().data == []


def test_without_the_sample(tmp_path: Path) -> None:
    with closing(open_memory(read(data_dir=tmp_path / "data", reader="none", sample=False))) as memory:
        assert memory.files().data == []


def test_a_data_folder_that_cannot_be_one_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(FolderFault, match=r"data cannot be used: .*COGCORE_DATA_DIR"):
        open_memory(read(data_dir=tmp_path / "data", reader="none"))


def test_a_core_that_cannot_be_loaded_frees_the_folder(tmp_path: Path) -> None:
    settings = read(data_dir=tmp_path / "data", reader="none", sample=False, core=str(tmp_path))
    for _ in range(2):
        with pytest.raises((UnknownCore, UnsupportedModel)):
            build(settings)
    with closing(open_memory(settings)), pytest.raises(FolderFault, match="in use"):
        build(settings)


def test_an_index_that_faiss_does_not_make_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(FaissRefused, match=r"COGCORE_FAISS=IVF64,Rabbit: .*could not parse"):
        open_memory(read(data_dir=tmp_path / "data", reader="none", faiss="IVF64,Rabbit"))
    settings = read(data_dir=tmp_path / "data", reader="none", sample=False, faiss="IVF64,SQ8", exact_up_to=50)
    with closing(open_memory(settings)) as memory:
        assert memory.recall().samples == 0


def test_a_milvus_that_does_not_answer_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    monkeypatch.setattr("index.milvus.TIMEOUT", 0.5)
    with pytest.raises(MilvusAway, match=r"COGCORE_MILVUS_URL=http://127\.0\.0\.1:9: .*start it") as fault:
        open_memory(read(data_dir=tmp_path / "data", reader="none", milvus_url="http://127.0.0.1:9"))
    _, row, _ = describe(fault.value)
    assert (row.status, row.code) == (503, "memory_unavailable")
