"""`cogcore watch` as a person runs it: a process of its own beside a live server."""

import asyncio
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.__main__ import main
from app.cli.watch import _Follower
from app.settings import read
from tests.api.live import scripted
from tests.fakes import ScriptedEngine

Wire = dict[str, Any]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """What is started in the background of a shell ignores Ctrl-C, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    (made / "below").mkdir(parents=True)
    (made / "below" / "rivers.md").write_text("The Sorne is 312 km long.")
    return made


@contextmanager
def watching(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "app", "watch", str(folder), "--store", "valley", "--port", str(port)]
    log = folder.parent / "log"
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(20) == 130, log.read_text()
            finally:
                process.kill()
    assert "Traceback" not in log.read_text()


def documents(port: int) -> dict[str, Wire]:
    """The completed documents of the store, by the ends of their paths."""
    answer = httpx.get(f"http://127.0.0.1:{port}/v1/vector_stores/valley/files", params={"filter": "completed"})
    found = answer.json().get("data", [])
    return {"/".join(Path(one["attributes"]["path"]).parts[-2:]): one for one in found}


def until(look: Callable[[], bool], folder: Path) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end, (folder.parent / "log").read_text()
        time.sleep(0.1)


def test_a_store_follows_a_folder(tmp_path: Path, folder: Path, port: int) -> None:
    data = tmp_path / "data"
    with scripted(ScriptedEngine(), data, port=port), watching(folder, port):
        until(lambda: set(documents(port)) == {"below/rivers.md"}, folder)
        first = documents(port)["below/rivers.md"]
        (folder / "lakes.md").write_text("The lake is deep.")
        (folder / ".hidden.md").write_text("Not for others.")
        until(lambda: set(documents(port)) == {"below/rivers.md", "docs/lakes.md"}, folder)

        (folder / "below").rename(folder / "above")
        (folder / "lakes.md").rename(folder / "ponds.md")
        lake = documents(port)["docs/lakes.md"]["id"]
        until(lambda: set(documents(port)) == {"above/rivers.md", "docs/ponds.md"}, folder)
        assert documents(port)["above/rivers.md"]["id"] == first["id"]
        assert documents(port)["docs/ponds.md"]["id"] == lake

        (folder / "above" / "rivers.md").write_text("The Sorne is 315 km long.")
        until(lambda: documents(port)["above/rivers.md"]["id"] != first["id"], folder)
        until(lambda: len(documents(port)) == 2, folder)
        (folder / "ponds.md").unlink()
        until(lambda: set(documents(port)) == {"above/rivers.md"}, folder)
        (folder / "seas.md").write_text("The sea is wide.")
        until(lambda: set(documents(port)) == {"above/rivers.md", "docs/seas.md"}, folder)
        (folder / "seas.md").write_text("")
        until(lambda: set(documents(port)) == {"above/rivers.md"}, folder)
        until(lambda: f"deleted {folder / 'seas.md'}: the file is empty" in (tmp_path / "log").read_text(), folder)
        files = httpx.get(f"http://127.0.0.1:{port}/v1/files").json()["data"]
        assert len(files) == 1, "what is deleted or replaced is deleted for good"


def test_a_server_that_is_away_is_waited_for_and_a_folder_that_is_away_is_not_forgotten(
    tmp_path: Path, folder: Path, port: int
) -> None:
    data = tmp_path / "data"
    with watching(folder, port) as process:
        until(lambda: "No server runs" in (tmp_path / "log").read_text(), folder)
        with scripted(ScriptedEngine(), data, port=port):
            until(lambda: set(documents(port)) == {"below/rivers.md"}, folder)
        (folder / "lakes.md").write_text("The lake is deep.")
        (folder / "below" / "rivers.md").unlink()
        until(lambda: (tmp_path / "log").read_text().count("No server runs") == 2, folder)
        with scripted(ScriptedEngine(), data, port=port):
            until(lambda: set(documents(port)) == {"docs/lakes.md"}, folder)
        assert process.poll() is None
    with scripted(ScriptedEngine(), data, port=port):
        (folder / "lakes.md").unlink()
        (folder / "seas.md").write_text("The sea is wide.")
        with watching(folder, port):
            until(lambda: set(documents(port)) == {"docs/seas.md"}, folder)


def test_a_folder_that_goes_ends_it_and_nothing_is_forgotten(tmp_path: Path, folder: Path, port: int) -> None:
    command = [sys.executable, "-m", "app", "watch", str(folder), "--store", "valley", "--port", str(port)]
    with scripted(ScriptedEngine(), tmp_path / "data", port=port):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while not documents(port):
                time.sleep(0.1)
            shutil.move(folder, tmp_path / "elsewhere")
            assert process.wait(30) == 2
            assert process.stderr is not None and "is gone, or another stands in its place" in process.stderr.read()
        assert set(documents(port)) == {"below/rivers.md"}


def test_a_disk_that_is_not_mounted_deletes_nothing(
    tmp_path: Path, folder: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def follow(follower: _Follower) -> bool:
        return asyncio.run(follower.follow())

    with scripted(ScriptedEngine(), tmp_path / "data", port=port):
        follower = _Follower(read(port=port), folder, "valley")
        assert follow(follower)
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        assert not follow(follower)
        again = _Follower(read(port=port), folder, "valley")
        assert follow(again) and follow(again)
        assert set(documents(port)) == {"below/rivers.md"}
        assert capsys.readouterr().err.count("1 documents that were there stay in the store") == 1
        (folder / "seas.md").write_text("The sea is wide.")
        assert follow(again) and set(documents(port)) == {"docs/seas.md"}
        (folder / "seas.md").unlink()
        assert follow(again) and not documents(port)


def test_a_file_that_cannot_be_read_keeps_no_other_from_following(
    tmp_path: Path, folder: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_bytes = Path.read_bytes

    def refused(self: Path) -> bytes:
        if self.name == "closed.md":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refused)  # whoever runs the tests may read all
    with scripted(ScriptedEngine(), tmp_path / "data", port=port):
        follower = _Follower(read(port=port), folder, "valley")
        asyncio.run(follower.follow())
        (folder / "closed.md").write_text("Not for us.")
        deep = folder.joinpath(*["deep" * 50] * 3, "rivers.md")
        deep.parent.mkdir(parents=True)
        (folder / "below" / "rivers.md").rename(deep)
        (folder / "lakes.md").write_text("The lake is deep.")
        asyncio.run(asyncio.wait_for(follower.follow(), 60))
        assert set(documents(port)) == {"docs/lakes.md"}
    said = capsys.readouterr().out
    assert f"failed {folder / 'closed.md'}: cannot be read: Permission denied\n" in said
    assert re.search(f"failed {deep}: .*512", said), "its path is longer than an attribute may be"


def test_a_name_that_is_not_utf_8_ends_nothing(tmp_path: Path, folder: Path, port: int) -> None:
    with scripted(ScriptedEngine(), tmp_path / "data", port=port), watching(folder, port):
        until(lambda: set(documents(port)) == {"below/rivers.md"}, folder)
        (folder / os.fsdecode(b"b\xff.md")).write_text("The bay is warm.")
        until(lambda: "b\\udcff.md: its name, or that of a folder" in (tmp_path / "log").read_text(), folder)
        (folder / "lakes.md").write_text("The lake is deep.")
        until(lambda: set(documents(port)) == {"below/rivers.md", "docs/lakes.md"}, folder)


def test_what_is_no_folder_is_not_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", os.fspath(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
