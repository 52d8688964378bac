"""The command line: the real embedder and reader, no server."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from app.cli.ingest import Summary, readable
from index.__main__ import main
from index.folder import find_files, ingest_folder, left_out
from index.memory import Memory
from tests.index.conftest import Open


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "leave.md").write_text("# Leave\n\nEveryone has thirty days of holiday a year.")
    (folder / "sub" / "notice.txt").write_text("The notice period is six weeks.")
    (folder / "picture.gif").write_bytes(b"GIF89a")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 not really")
    (folder / ".hidden" / "secret.md").write_text("never seen")
    (folder / "sub" / ".draft.md").write_text("never seen")
    return folder


def test_add_search_and_stats(docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main(["add", str(docs), "--store", "handbook", *data]) == 1  # one document failed
    shown = capsys.readouterr()
    assert "2 added, 0 unchanged, 1 skipped, 1 failed; 1 hidden file, 1 hidden folder left out" in shown.out
    assert f"hidden {docs / '.hidden'}: its name begins with a dot" in shown.err and "secret" not in shown.err
    assert "broken.pdf: " in shown.err and "picture.gif: .gif is not read" in shown.err
    assert main(["search", "How many days of holiday?", "--store", "handbook", "-k", "1", *data]) == 0
    shown = capsys.readouterr()
    assert "leave.md > Leave" in shown.out and "«thirty" in shown.out and "notice" not in shown.out
    assert main(["stats", *data]) == 0
    assert "handbook  2 searchable, 1 failed" in capsys.readouterr().out


def test_errors_are_one_line_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main(["add", str(tmp_path / "nowhere"), *data]) == 1
    assert "nowhere is neither a file nor a folder" in capsys.readouterr().err
    assert main(["search", "words", "--store", "none", "--no-rerank", *data]) == 1
    assert capsys.readouterr().err == "error: there is no store 'none'; list the stores to see their ids and names\n"
    with pytest.raises(SystemExit):
        main(["add"])


def test_what_is_hidden_is_told_unless_it_is_named(docs: Path, open_memory: Open) -> None:
    draft = docs / "sub" / ".draft.md"
    assert find_files([docs]).hidden == [docs / ".hidden", draft]
    named = find_files([docs, draft, docs / ".hidden"])
    assert named.hidden == [] and named.files[-2:] == [draft, docs / ".hidden" / "secret.md"]
    assert left_out([]) == ""
    assert left_out([docs / ".hidden", draft, draft]) == "; 2 hidden files, 1 hidden folder left out"
    assert ingest_folder(open_memory(), "default", docs).hidden == [docs / ".hidden", draft]


def test_a_folder_that_cannot_be_looked_into_is_told(
    docs: Path, open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = os.scandir

    def refused(path: str) -> Any:  # whoever runs the tests may look everywhere
        if Path(path) == docs / "sub":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return looked(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find_files([docs])
    assert found.closed == {docs / "sub": "cannot be read: Permission denied"}
    assert found.files and not any(path.is_relative_to(docs / "sub") for path in found.files)
    assert ingest_folder(open_memory(), "default", docs).failed[docs / "sub"] == found.closed[docs / "sub"]
    readable([docs], told := Summary())
    assert told.failed == {str(docs / "sub"): "cannot be read: Permission denied"}


def test_a_file_that_cannot_keep_its_name_is_told_and_the_others_are_read(docs: Path, open_memory: Open) -> None:
    turned, broken = docs / "a\u202efdp.md", docs / os.fsdecode(b"b\xff.md")
    below = docs / os.fsdecode(b"c\xff") / "c.md"
    below.parent.mkdir()
    for path in (turned, broken, below):
        path.write_text("Words.")
    summary = ingest_folder(open_memory(), "default", docs)
    assert {path.name for path in summary.done} == {"leave.md", "notice.txt"}
    assert set(summary.failed) == {docs / "broken.pdf", turned, broken, below}
    assert "direction" in summary.failed[turned] and "UTF-8" in summary.failed[below]


def test_a_second_run_takes_only_what_changed(docs: Path, open_memory: Open) -> None:
    memory = open_memory()
    first = ingest_folder(memory, "default", docs)
    assert {path.name for path in first.done} == {"leave.md", "notice.txt"}
    assert [path.name for path in first.skipped] == ["picture.gif"]
    assert [path.name for path in first.failed] == ["broken.pdf"]
    old = id_of(memory, "leave.md")
    (docs / "leave.md").write_text("# Leave\n\nEveryone has twenty days of holiday a year.")
    (docs / "new.md").write_text("New words.")
    seen: list[tuple[str, str]] = []
    second = ingest_folder(memory, "default", docs, lambda path, outcome: seen.append((path.name, outcome)))
    assert {path.name for path in second.done} == {"leave.md", "new.md"}
    assert [path.name for path in second.unchanged] == ["notice.txt"]
    assert len(seen) == 5 and ("picture.gif", "skipped") in seen
    texts = [hit.chunk.text for hit in memory.search("default", "days of holiday")]
    assert "twenty days" in texts[0] and not any("thirty" in text for text in texts)
    assert old not in {file.id for file in memory.files(limit=100).data}
    third = ingest_folder(memory, "default", docs)
    assert len(third.unchanged) == 3 and not third.done


def test_an_old_version_stays_until_the_new_one_is_readable(docs: Path, open_memory: Open) -> None:
    memory = open_memory()
    ingest_folder(memory, "default", docs)
    (docs / "leave.md").write_bytes(b"")
    assert "leave.md" in {path.name for path in ingest_folder(memory, "default", docs).failed}
    assert "thirty" in memory.search("default", "holiday")[0].chunk.text
    (docs / "leave.md").write_text("# Leave\n\nTwenty days of holiday.")
    ingest_folder(memory, "default", docs)
    named = [document for document in memory.store_files("default").data if document.filename == "leave.md"]
    assert len(named) == 1 and named[0].status == "completed"


def test_a_file_that_others_use_survives_its_next_version(docs: Path, open_memory: Open) -> None:
    memory = open_memory()
    ingest_folder(memory, "default", docs)
    other = memory.create_store("other")
    old = id_of(memory, "leave.md")
    memory.attach(other.id, old)
    memory.wait(other.id, old, 30)
    (docs / "leave.md").write_text("# Leave\n\nTwenty days of holiday.")
    ingest_folder(memory, "default", docs)
    assert memory.stores_of(old) == [other.id]


def id_of(memory: Memory, filename: str) -> str:
    return next(document.id for document in memory.store_files("default").data if document.filename == filename)
