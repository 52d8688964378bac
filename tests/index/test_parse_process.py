"""The process that reads documents: its limits, its crashes, its signals, and its end."""

import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from index.errors import InvalidFile
from index.parse import Limits, parse, process

MIB = 2**20


def bomb_pdf(unpacked: int) -> bytes:
    """A PDF of some kilobytes whose one page unpacks to `unpacked` bytes."""
    content = zlib.compress(b" " * unpacked + b"BT /F1 9 Tf 90 700 Td (Bread) Tj ET", 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def slow() -> bytes:
    return b"*a _b `c [d](e " * 200_000


@contextmanager
def own_worker() -> Iterator[process._Worker]:
    worker = process._Worker()
    try:
        yield worker
    finally:
        worker.close()


def test_pdf_bomb_stays_within_its_memory() -> None:
    data = bomb_pdf(200 * MIB)
    assert len(data) < MIB
    with own_worker() as worker:
        reply = worker.ask(".pdf", data, Limits(memory_bytes=700 * MIB, cpu_seconds=30))
        assert reply["fault"] == "InvalidFile"
        peak = next(line for line in Path(f"/proc/{worker.pid}/status").read_text().split("\n") if "VmPeak" in line)
        assert int(peak.split()[1]) <= 700 * 1024


def test_wall_time_is_limited() -> None:
    began = time.monotonic()
    with pytest.raises(InvalidFile, match=r"longer than 0\.3 seconds"):
        parse("a.md", slow(), Limits(wall_seconds=0.3))
    assert time.monotonic() - began < 30
    assert parse("good.txt", b"Still here.").text == "Still here."


def test_cpu_time_is_limited() -> None:
    with pytest.raises(InvalidFile, match="CPU time"):
        parse("a.md", slow(), Limits(cpu_seconds=0))


def test_memory_is_limited() -> None:
    with pytest.raises(InvalidFile, match="more than 200 MiB of memory"):
        parse("a.md", slow() * 4, Limits(memory_bytes=200 * MIB))
    assert parse("good.txt", b"Still here.").text == "Still here."


def test_a_crash_fails_its_own_file_only() -> None:
    with own_worker() as worker:
        threading.Timer(0.3, os.kill, (worker.pid, signal.SIGSEGV)).start()
        with pytest.raises(InvalidFile, match="crashed"):
            worker.ask(".md", slow(), Limits())
        assert not worker.alive


def test_telling_the_whole_group_to_stop_fails_no_document() -> None:
    with own_worker() as worker:
        for number in (signal.SIGTERM, signal.SIGINT):
            threading.Timer(0.3, os.kill, (worker.pid, number)).start()
        assert "fault" not in worker.ask(".md", slow()[: MIB // 4], Limits())
        assert worker.alive


def running(folder: Path) -> bool:
    """By its folder in /proc. An orphan that nobody reaps has ended too."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("work", ["None", "process.parse('a.md', b'*a _b `c [d](e ' * 800_000)"], ids=["idle", "busy"])
def test_a_worker_ends_with_its_parent(work: str) -> None:
    script = (
        "import threading, time\nfrom index.parse import process\n"
        "process.parse('a.txt', b'words')\nprint(process._idle[-1].pid, flush=True)\n"
        f"threading.Thread(target=lambda: {work}).start()\n"
        "time.sleep(0.5)\nprint('working', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        assert worker.is_dir() and parent.stdout.readline() == "working\n"
        parent.kill()
        deadline = time.monotonic() + 8  # the busy one's file takes twice as long
        while running(worker) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not running(worker)


def test_a_worker_that_died_while_idle_is_replaced() -> None:
    parse("a.txt", b"words")
    victim = process._idle[-1]
    os.kill(victim.pid, signal.SIGKILL)
    while victim.alive:
        time.sleep(0.01)
    assert parse("a.txt", b"words").text == "words"
    assert victim not in process._idle


def test_the_worker_is_kept_and_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    parse("a.txt", b"words")
    before = process._idle[-1].pid
    parse("b.txt", b"words")
    assert process._idle[-1].pid == before
    monkeypatch.setenv("COGCORE_API_KEYS", "hunter2")
    with own_worker() as worker:
        assert b"hunter2" not in Path(f"/proc/{worker.pid}/environ").read_bytes()


def test_many_threads() -> None:
    results: dict[int, str] = {}

    def one(number: int) -> None:
        results[number] = parse("a.md", b"# T\n\nNumber %d" % number).text

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"T\n\nNumber {number}" for number in range(4)}
    assert len(process._idle) <= 2
