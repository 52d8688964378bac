"""The `cogcore` command, as a person runs it: against a running server, and with none."""

import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from app.api import Parts
from app.cores.load import load_core
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder
from tests.api.live import live, scripted
from tests.fakes import ScriptedEngine

RIVERS = "# Rivers\n\nThe Sorne is the longest river of the valley. It is 312 kilometres long.\n"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, reader: Reader, device: str) -> Parts:
    folder = tmp_path_factory.mktemp("served")
    core = load_core(device=device, threads=1)
    return Parts(core, Memory(folder, embedder, reader), read(data_dir=folder, need_threshold=0, abstain_below=0))


@pytest.fixture(scope="module")
def running(parts: Parts) -> Iterator[str]:
    with live(parts) as base_url:
        yield base_url


@pytest.fixture
def server(running: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COGCORE_PORT", running.rpartition(":")[2])
    return running


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server, a data folder of its own, and a core that always looks things up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("COGCORE_PORT", str(free.getsockname()[1]))
    for name, value in {"DATA_DIR": tmp_path / "data", "SAMPLE": "false", "THREADS": 1}.items():
        monkeypatch.setenv(f"COGCORE_{name}", str(value))
    monkeypatch.setenv("COGCORE_NEED_THRESHOLD", "0")
    monkeypatch.setenv("COGCORE_ABSTAIN_BELOW", "0")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "rivers.md").write_text(RIVERS)
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    (folder / "song.mp3").write_bytes(b"la la")
    (folder / "empty.txt").touch()
    (folder / ".hidden.md").write_text("secret")
    (folder / ".github").mkdir()
    (folder / ".github" / "template.md").write_text("secret")
    return folder


def test_ingest_adds_leaves_and_replaces(server: str, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(docs), "--store", "valley"]) == 1
    said = capsys.readouterr().out
    assert "1 done, 0 unchanged, 2 skipped, 1 failed" in said
    assert re.search(r"failed .*bad\.pdf: .*PDF", said)
    assert re.search(r"skipped .*song\.mp3: '\.mp3' is not read", said)
    assert "empty.txt: the file is empty" in said
    assert "1 failed; 1 hidden file, 1 hidden folder left out" in said
    assert f"hidden {docs / '.hidden.md'}: its name begins with a dot" in said
    assert f"hidden {docs / '.github'}: its name begins with a dot" in said and "template" not in said

    (docs / "bad.pdf").unlink()
    # The same folder, named in another way.
    assert main(["ingest", str(docs / "below" / ".."), "--store", "valley"]) == 0
    assert "0 done, 1 unchanged, 2 skipped, 0 failed" in capsys.readouterr().out

    (docs / "below" / "rivers.md").write_text(RIVERS.replace("312", "315"))
    assert main(["ingest", str(docs), "--store", "valley"]) == 0
    assert "1 done, 0 unchanged" in capsys.readouterr().out
    found = httpx.post(f"{server}/v1/vector_stores/valley/search", json={"query": "How long is the Sorne?"}).json()
    texts = [hit["content"][0]["text"] for hit in found["data"]]
    assert any("315" in text for text in texts)
    assert not any("312" in text for text in texts)


@pytest.mark.usefixtures("server")
def test_ingest_takes_single_files_beside_folders(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rivers, hidden, song = docs / "below" / "rivers.md", docs / ".hidden.md", docs / "song.mp3"
    (docs / "bad.pdf").unlink()
    assert main(["ingest", str(docs / "below" / ".." / "below" / "rivers.md"), str(hidden), "--store", "one"]) == 0
    assert "2 done, 0 unchanged, 0 skipped, 0 failed\n" in capsys.readouterr().out
    # The folder knows what came alone, and what is named is there once and not hidden.
    assert main(["ingest", str(rivers), str(docs), str(hidden), "--store", "one"]) == 0
    said = capsys.readouterr().out
    assert "0 done, 2 unchanged, 2 skipped, 0 failed; 1 hidden folder left out" in said
    # Whoever names a file wants it read.
    assert main(["ingest", str(song), str(docs / "empty.txt"), str(rivers), "--store", "one"]) == 1
    said = capsys.readouterr().out
    assert "0 done, 1 unchanged, 0 skipped, 2 failed" in said
    assert f"failed {song}: '.mp3' is not read" in said and "empty.txt: the file is empty" in said


@pytest.mark.usefixtures("server")
def test_ingest_tells_what_it_cannot_read(
    docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rivers = docs / "below" / "rivers.md"

    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)  # whoever runs the tests may read all
    assert main(["ingest", str(rivers), "--store", "closed"]) == 1
    assert f"failed {rivers}: cannot be read: Permission denied\n" in capsys.readouterr().out
    monkeypatch.setattr(os, "access", lambda path, mode: path != rivers)
    assert main(["ingest", str(docs), str(rivers), "--store", "closed"]) == 2
    assert f"{rivers} cannot be read by this user." in capsys.readouterr().err


def test_a_name_that_cannot_be_sent_fails_alone(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    named = [docs / os.fsdecode(b"b\xff.md"), docs / "turned\u202eround.md", docs / "zebra.md"]
    for path in named:
        path.write_text(f"{len(path.name)} zebras.")
    with scripted(ScriptedEngine(), tmp_path / "data") as url:
        monkeypatch.setenv("COGCORE_PORT", url.rpartition(":")[2])
        assert main(["ingest", *map(str, named)]) == 1
    said = capfd.readouterr().out
    assert "1 done, 0 unchanged, 0 skipped, 2 failed" in said
    assert "b\\udcff.md: its name, or that of a folder above it, is not UTF-8: rename it\n" in said
    assert "round.md: A filename has 1 to" in said


@pytest.mark.usefixtures("server")
def test_ingest_tells_what_it_left_out(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "bad.pdf").unlink()
    again = docs / "again.md"
    again.write_text("\n".join(f"# River\n\n{'The Sorne is long. ' * 40}\n" for _ in range(3)))
    assert main(["ingest", str(docs), "--store", "again"]) == 0
    assert f"  left out of {again}: 2 duplicates\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["of/others", "what?", "a b#c", ".."])
def test_a_store_may_have_any_name(server: str, docs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "bad.pdf").unlink()
    for said in ("1 done", "1 unchanged"):
        assert main(["ingest", str(docs), "--store", name]) == 0
        assert said in capsys.readouterr().out
    stores = httpx.get(f"{server}/v1/vector_stores").json()["data"]
    assert [store["name"] for store in stores].count(name) == 1
    httpx.post(f"{server}/v1/vector_stores", json={"name": name})
    assert main(["ingest", str(docs), "--store", name]) == 1
    assert f"2 stores are named '{name}'" in capsys.readouterr().err


def test_whoever_owns_the_folder_needs_no_key_of_it(
    alone: None, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "create", "shop"]) == 0
    (docs / "bad.pdf").unlink()
    assert main(["ingest", str(docs), "--store", "valley"]) == 0
    assert "1 done" in capsys.readouterr().out


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("revoked", [False, True])
def test_a_key_that_was_made_opens_no_folder(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], revoked: bool
) -> None:
    assert main(["key", "create", "me", "--organisation", "acme", "--scope", "admin"]) == 0
    secret, line = capsys.readouterr().out.splitlines()
    if revoked:
        assert main(["key", "revoke", line.split()[0]]) == 0
    monkeypatch.setenv("COGCORE_API_KEY", secret)
    bundle = str(tmp_path / "docs.cogcore.zip")
    for command in (["ingest", str(docs)], ["ask", "Hello"], ["export", "default", bundle], ["import", bundle]):
        assert main(command) == 1
        assert "a key of the organisation 'acme'" in capsys.readouterr().err
    assert {path.name.split(".")[0] for path in (tmp_path / "data").iterdir()} == {"keys", "audit"}


def test_an_alias_is_set_listed_rolled_back_and_removed(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (httpx.post(f"{server}/v1/vector_stores", json={"name": n}).json()["id"] for n in ("may", "june"))
    assert main(["alias", "set", "month", "may"]) == 0
    assert capsys.readouterr().out == f"month -> may ({first})\n"
    assert main(["alias", "set", "month", second]) == 0
    assert capsys.readouterr().out == f"month -> june ({second}); before: may ({first})\n"
    assert main(["alias", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].startswith("default -> documents (vs_") and listed[1].startswith("month -> june")
    assert main(["alias", "rollback", "month"]) == 0
    assert capsys.readouterr().out == f"month -> may ({first})\n"
    assert main(["alias", "rollback", "month"]) == 1
    assert "pointed to no other store before" in capsys.readouterr().err
    assert main(["alias", "remove", "month"]) == 0
    assert main(["alias", "remove", "a/b"]) == 1


def test_ingest_goes_where_an_alias_points(server: str, docs: Path) -> None:
    (docs / "bad.pdf").unlink()
    store = httpx.post(f"{server}/v1/vector_stores", json={"name": "target"}).json()["id"]
    assert main(["alias", "set", "incoming", "target"]) == 0
    assert main(["ingest", str(docs), "--store", "incoming"]) == 0
    assert httpx.get(f"{server}/v1/vector_stores/{store}").json()["file_counts"]["completed"] == 1


def test_ingest_ends_what_an_interrupted_one_began(server: str, docs: Path) -> None:
    (docs / "bad.pdf").unlink()
    assert main(["ingest", str(docs), "--store", "broken"]) == 0
    path = docs / "below" / "rivers.md"
    path.write_text(RIVERS.replace("312", "315"))
    # What a run leaves that is interrupted before the older version is deleted.
    attributes = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    with httpx.Client(base_url=f"{server}/v1") as client:
        form = {"files": {"file": (path.name, path.read_bytes())}, "data": {"purpose": "assistants"}}
        newer = client.post("/files", **form).json()["id"]  # type: ignore[arg-type]
        client.post("/vector_stores/broken/files", json={"file_id": newer, "attributes": attributes})
        for _ in range(2):
            assert main(["ingest", str(docs), "--store", "broken"]) == 0
            assert [f["id"] for f in client.get("/vector_stores/broken/files").json()["data"]] == [newer]


def test_ask_shows_search_and_source(server: str, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "bad.pdf").unlink()
    assert main(["ingest", str(docs), "--store", "asked"]) == 0
    assert main(["ask", "How", "long", "is", "the", "Sorne?", "--store", "asked"]) == 0
    said = capsys.readouterr().out
    assert "searched for: " in said
    assert re.search(r"\n> .+\n", said)
    assert re.search(r"source: rivers\.md: http://127\.0\.0\.1:\d+/v1/passages/", said)
    assert re.search(r"need \d\.\d\d, confidence \d\.\d\d", said)


@pytest.mark.usefixtures("server")
def test_ask_passes_on_what_the_server_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Hello", "--store", "nowhere"]) == 1
    assert "'cogcore/nowhere' does not exist" in capsys.readouterr().err
    assert main(["ask", " "]) == 1
    assert "is empty" in capsys.readouterr().err


@pytest.mark.usefixtures("alone")
def test_all_work_without_a_server(tmp_path: Path, docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "bad.pdf").unlink()
    assert main(["ingest", str(docs)]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["ask", "How long is the Sorne?"]) == 0
    out, err = capsys.readouterr()
    assert "No server runs" in err
    assert re.search(r"source: rivers\.md\n", out)
    bundle = tmp_path / "docs.cogcore.zip"
    assert main(["export", "default", str(bundle)]) == 0
    assert main(["import", str(bundle), "--store", "copy", "--alias", "now"]) == 0
    assert "copy: 1 documents, searchable; the alias now points to it" in capsys.readouterr().out
    assert main(["import", str(docs / "below" / "rivers.md")]) == 1
    assert "the bundle is cut off, or no bundle" in capsys.readouterr().err


@pytest.mark.usefixtures("alone")
def test_a_data_folder_belongs_to_one_process(
    tmp_path: Path, docs: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = Memory(tmp_path / "data", embedder)
    try:
        assert main(["ingest", str(docs)]) == 1
        assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
    finally:
        memory.close()


def test_a_port_that_another_server_has(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("COGCORE_PORT", str(taken.getsockname()[1]))
        assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert "cannot listen on 127.0.0.1:" in said
    assert "choose another COGCORE_PORT" in said


def test_wrong_settings_and_arguments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["ingest", str(tmp_path), str(tmp_path / "nowhere"), str(tmp_path / "pipe")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'nowhere'} does not exist." in said
    assert f"{tmp_path / 'pipe'} is neither a file nor a folder." in said
    monkeypatch.setenv("COGCORE_CORES", "big")
    assert main(["serve"]) == 2
    assert "Did you mean COGCORE_CORE?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fly"])


def test_help_loads_no_models() -> None:
    check = "import sys, app.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


@pytest.mark.usefixtures("alone")
def test_serve_prints_what_works(tmp_path: Path, embedder: Embedder) -> None:
    """The curl line and the Python lines, run as they are printed; then a clean stop. Documents that wait do not
    keep the server from answering."""
    with closing(Memory(tmp_path / "data", embedder, workers=0)) as memory:
        memory.attach("default", memory.add_file("long.txt", b"The river is long. " * 300_000).id)
    log = tmp_path / "log"
    with log.open("w") as out:
        served = subprocess.Popen([sys.executable, "-m", "app", "serve"], stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 240
        while "then ask the model" not in log.read_text():
            assert served.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        said = log.read_text()
        store = httpx.get(f"http://127.0.0.1:{os.environ['COGCORE_PORT']}/v1/vector_stores/default").json()
        assert store["status"] == "in_progress"
        curl = next(line for line in said.splitlines() if line.startswith("curl "))
        answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
        assert '"chat.completion"' in answer.stdout
        lines = said[said.index("from openai") :].split("\n\n")[0]
        assert len(lines.splitlines()) == 5
        ran = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
        assert len(ran.stdout.splitlines()) >= 2
    finally:
        served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0
