"""Stores go out into one file and come back as they were; what is damaged, hostile or too new does not come in."""

import hashlib
import io
import json
import random
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from index.bundle import CHUNKS, DOCUMENTS, MANIFEST, VECTORS, Bundle
from index.errors import BundleRefused, InvalidRequest, StoreNotFound
from index.memory import Memory
from index.types import Chunking
from tests.fakes import HashedWords
from tests.index.conftest import Open, put

TEXTS = {
    "rivers.md": "# Rivers\n\nThe Sorne is 312 kilometres long.\n\n# Bridges\n\nThe old bridge is red.",
    "mills.md": "# Mills\n\nThe mill was built in 1874 by Ada Brandt.",
    "copy.md": "# Mills\n\nThe mill was built in 1874 by Ada Brandt.",
}


def filled(memory: Memory, name: str = "valley") -> str:
    store = memory.create_store(name, {"owner": "ada"}, "what flows", 30).id
    for number, (filename, text) in enumerate(TEXTS.items()):
        file = memory.add_file(filename, text.encode())
        memory.attach(store, file.id, {"year": 1870 + number, "old": True, "by": "Ada"}, Chunking(40 + number, 5))
        assert memory.wait(store, file.id, 60).status == "completed"
    memory.keep_note(store, "calibration", '{"slope": 1.5}')
    return store


def exported(memory: Memory, store: str) -> bytes:
    with memory.spool() as spool:
        memory.exporter.export(store, spool)
        return spool.read()


def everything(memory: Memory, store: str) -> Any:
    """What a store is to whoever uses it, but for the ids."""
    info = memory.store(store)
    files = memory.store_files(store, limit=100, order="asc").data
    hits = [
        (hit.chunk.filename, hit.chunk.text, hit.chunk.start, hit.chunk.end, hit.chunk.headings, round(hit.score, 6))
        for hit in memory.search(store, ["Sorne", "mill"], k=50)
    ]
    return (
        (info.description, dict(info.metadata), info.expires_after_days, dict(info.counts), info.usage_bytes),
        (info.version, memory.note(store, "calibration")),
        [(one.filename, dict(one.attributes), one.chunking, one.usage_bytes, one.left_out) for one in files],
        [(memory.content(one.id), memory.text(one.id)) for one in files],
        sorted(hits),
    )


def repacked(data: bytes, change: Callable[[dict[str, bytes]], None], sealed: bool = True) -> bytes:
    """With other members; `sealed`: the manifest tells of them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if sealed:
        manifest = json.loads(members.pop(MANIFEST))
        manifest["members"] = {
            name: {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()} for name, held in members.items()
        }
        members[MANIFEST] = json.dumps(manifest).encode()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return sink.getvalue()


def nothing_new(memory: Memory, before: Any) -> bool:
    return bool(before == contents(memory))


def contents(memory: Memory) -> Any:
    folder = memory._folder
    found = [path for kind in ("originals", "catalog.vectors") for path in (folder / kind).rglob("*")]
    return memory.stats(), [one.id for one in memory.stores(limit=100).data], {p for p in found if p.is_file()}


def test_a_store_comes_back_as_it_was(open_memory: Open) -> None:
    memory, other = open_memory(), open_memory("other")
    store = filled(memory)
    data = exported(memory, store)
    imported = other.importer.import_(io.BytesIO(data))
    assert (imported.store.name, imported.documents, imported.chunks) == ("valley", 3, 4)
    assert imported.vectors_kept and imported.expired == 0
    assert everything(other, imported.store.id) == everything(memory, store)
    # Ids are new, and all of it is in the other's own files.
    assert imported.store.id != store and memory.store(store).id == store
    again = other.importer.import_(io.BytesIO(exported(other, imported.store.id)))
    assert again.store.name == "valley-2", "a name is given once"
    other.close()
    reopened = open_memory("other")
    assert everything(reopened, "valley-2") == everything(memory, store)


def test_anybody_can_open_a_bundle(open_memory: Open) -> None:
    memory = open_memory()
    data = exported(memory, filled(memory))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None and archive.namelist()[-1] == MANIFEST
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        manifest = json.loads(archive.read(MANIFEST))
        lines = [json.loads(line) for line in archive.read(DOCUMENTS).splitlines()]
        texts = {line["text"]: archive.read(f"originals/{line['original']}") for line in lines}
    assert (manifest["cogcore bundle"], manifest["documents"], manifest["chunks"]) == (1, 3, 4)
    assert manifest["embedder"] == {"fingerprint": "hashed-words/128", "dimension": 128}
    assert set(texts.values()) == {text.encode() for text in TEXTS.values()}


def test_what_was_deleted_leaves_no_trace(open_memory: Open) -> None:
    memory = open_memory()
    store = filled(memory)
    secret = memory.add_file("vault.md", b"The vault opens with zyzzyva.")
    memory.attach(store, secret.id, {"word": "zyzzyva"})
    memory.wait(store, secret.id, 60)
    assert b"zyzzyva" in exported(memory, store)
    memory.delete_file(secret.id)
    data = exported(memory, store)
    assert b"zyzzyva" not in data and b"vault" not in data and secret.sha256.encode() not in data
    unread = memory.add_file("unread.xyz", b"\x00\x01")
    memory.attach(store, unread.id)
    assert memory.wait(store, unread.id, 60).status == "failed"
    assert b"unread" not in exported(memory, store), "only what can be found is exported"


def test_an_export_is_one_moment_while_documents_come_and_go(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that goes while it is exported is in no export; the one that took its place is."""
    memory = open_memory()
    store = filled(memory)
    old = memory.store_files(store, order="asc").data[0].id
    document_line = memory.exporter._document_line
    moves: list[Callable[[], object]] = [lambda: memory.detach(store, old)]

    def moved(*given: Any) -> Any:
        line = document_line(*given)
        if moves:
            put(memory, "rivers.md", "The Sorne is 315 kilometres long.", store)
            moves.pop()()
        return line

    monkeypatch.setattr(memory.exporter, "_document_line", moved)
    data = exported(memory, store)
    assert not moves and b"312 kilometres" not in data and b"315 kilometres" in data  # digits alone are in times
    assert open_memory("other").importer.import_(io.BytesIO(data)).documents == 3
    # However often something goes, an export ends: the last attempt lets nothing go.
    endless = iter(range(100))

    def always(*given: Any) -> Any:
        number = next(endless)
        if number < 30 and not memory._catalog.writing._is_owned():  # type: ignore[attr-defined]
            memory.detach(store, put(memory, f"{number}.md", f"passing {number}", store))
            memory.detach(store, memory.store_files(store, order="asc").data[0].id)
        return document_line(*given)

    for number in range(6):
        put(memory, f"more{number}.md", f"word{number}", store)
    monkeypatch.setattr(memory.exporter, "_document_line", always)
    assert b"passing" not in exported(memory, store)


def test_exports_while_others_add_search_and_delete(open_memory: Open) -> None:
    memory, other = open_memory(), open_memory("other")
    store = filled(memory)
    stop = threading.Event()
    faults: list[BaseException] = []

    def busy(number: int) -> None:
        try:
            while not stop.is_set():
                file = put(memory, f"{number}.md", f"The pond {time.monotonic()} is deep.", store)
                memory.search(store, "pond")
                memory.delete_file(file)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        bundles = [exported(memory, store) for _ in range(4)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults
    for data in bundles:
        imported = other.importer.import_(io.BytesIO(data), name="")
        assert 3 <= imported.documents <= 5
        assert imported.store.counts["completed"] == imported.documents
        assert len(other.search(imported.store.id, "pond", k=50)) == imported.chunks


def test_vectors_of_another_embedder(open_memory: Open) -> None:
    memory, other = open_memory(), open_memory("other", embedder=HashedWords(64, "other-words"))
    data = exported(memory, filled(memory))
    before = contents(other)
    with pytest.raises(InvalidRequest, match=r"made by hashed-words/128, this memory's are by other-words/64.*reembed"):
        other.importer.import_(io.BytesIO(data))
    assert nothing_new(other, before)
    imported = other.importer.import_(io.BytesIO(data), reembed=True)
    assert not imported.vectors_kept and imported.documents == 3
    assert "312" in other.search(imported.store.id, "How long is the Sorne?")[0].chunk.text
    other.close()
    assert (
        "312" in open_memory("other", embedder=HashedWords(64, "other-words")).search("valley", "Sorne")[0].chunk.text
    )


def test_a_name_that_is_taken(open_memory: Open) -> None:
    memory = open_memory()
    data = exported(memory, filled(memory))
    for name in ("valley", "default"):
        with pytest.raises(InvalidRequest, match="is a store or an alias already"):
            memory.importer.import_(io.BytesIO(data), name)
    with pytest.raises(InvalidRequest, match="is a store or an alias already"):
        memory.importer.import_(io.BytesIO(data), "live", taken=["live"])
    assert memory.importer.import_(io.BytesIO(data), taken=["valley-2"]).store.name == "valley-3"
    assert memory.importer.import_(io.BytesIO(data), "hills").store.name == "hills"
    with pytest.raises(StoreNotFound), memory.spool() as spool:
        memory.exporter.export("nowhere", spool)


def test_what_has_expired_does_not_come_back(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, other = open_memory(), open_memory("other")
    store = filled(memory)
    file = memory.add_file("news.md", b"The weir opens today.", expires_at=int(time.time()) + 3600)
    memory.attach(store, file.id)
    memory.wait(store, file.id, 60)
    data = exported(memory, store)
    later = time.time() + 7200
    monkeypatch.setattr("index.importing.time.time", lambda: later)
    imported = other.importer.import_(io.BytesIO(data))
    assert (imported.documents, imported.expired, imported.chunks) == (3, 1, 4)
    assert len(other.search(imported.store.id, "weir", k=50)) == 4


def test_no_flipped_byte_changes_what_comes_in(open_memory: Open) -> None:
    memory, other = open_memory(), open_memory("other")
    store = filled(memory)
    data = exported(memory, store)
    wanted, dice, refused = everything(memory, store), random.Random(7), 0
    before = contents(other)
    for _ in range(100):
        at = dice.randrange(len(data))
        broken = bytearray(data)
        broken[at] ^= 1 << dice.randrange(8)
        try:
            imported = other.importer.import_(io.BytesIO(bytes(broken)))
        except BundleRefused:
            refused += 1
            assert nothing_new(other, before)
        else:  # such as a date in the archive's directory
            assert everything(other, imported.store.id)[2:] == wanted[2:]
            for one in other.store_files(imported.store.id).data:
                other.delete_file(one.id)
            other.delete_store(imported.store.id)
    assert refused > 66
    for end in (0, 10, 21, len(data) // 2, len(data) - 1):
        with pytest.raises(BundleRefused):
            other.importer.import_(io.BytesIO(data[:end]))


def damaged(name: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        found = next(one for one in members if one.startswith(name))
        members[found] = change(members[found])

    return apply


def line_of(name: str, **changed: Any) -> Callable[[dict[str, bytes]], None]:
    def apply(data: bytes) -> bytes:
        first, _, rest = data.partition(b"\n")
        return json.dumps({**json.loads(first), **changed}).encode() + b"\n" + rest

    return damaged(name, apply)


def told(**changed: Any) -> Callable[[dict[str, bytes]], None]:
    return damaged(MANIFEST, lambda data: json.dumps({**json.loads(data), **changed}).encode())


@pytest.mark.parametrize(
    ("change", "sealed", "said"),
    [
        (damaged(CHUNKS, lambda data: data.replace(b"312", b"315")), False, "chunks.jsonl of the bundle is damaged"),
        (damaged("originals/", lambda data: data + b"!"), False, "originals/.* of the bundle is damaged"),
        (damaged("originals/", lambda data: data + b"!"), True, "is named after other bytes"),
        (damaged(VECTORS, lambda data: bytes(len(data))), True, "a row that is no unit vector"),
        (damaged(VECTORS, lambda data: b"\xff" * len(data)), True, "a row that is no unit vector"),
        (damaged(VECTORS, lambda data: data[:-2]), True, "vectors.f16 of the bundle has not one row for each"),
        (damaged(CHUNKS, lambda data: data[:-1]), True, "line 4 of the bundle's chunks.jsonl is cut off"),
        (damaged(CHUNKS, lambda data: data.partition(b"\n")[2]), True, "chunks.jsonl of the bundle ends too early"),
        (damaged(CHUNKS, lambda data: data + data), True, "does not tell of all"),
        (damaged(DOCUMENTS, lambda data: data + data), True, "tells of more passages"),
        (lambda members: members.pop(VECTORS), True, "the bundle lacks vectors.f16"),
        (
            lambda members: members.pop(next(m for m in members if "/" in m)),
            True,
            "lacks originals/.*, which documents",
        ),
        (lambda members: members.pop(MANIFEST), False, "has no manifest.json"),
        (lambda members: members.update({"../../evil": b"x"}), True, r"holds '\.\./\.\./evil', which no bundle has"),
        (lambda members: members.update({"/etc/passwd": b"x"}), True, "which no bundle has"),
        (lambda members: members.update({f"originals/{'0' * 64}": b"x"}), False, "of which its manifest.json does not"),
        (told(**{"cogcore bundle": 2}), False, "has format 2, and this server knows up to 1: upgrade"),
        (told(documents=-1), False, "the bundle's manifest.json: documents: "),
        (told(surprise=1), False, "the bundle's manifest.json: surprise: "),
        (line_of(DOCUMENTS, filename="a\nb"), True, "documents.jsonl, document 1: a filename has"),
        (line_of(DOCUMENTS, attributes={"a": "x" * 513}), True, "attributes.a can have 512"),
        (line_of(DOCUMENTS, chunking={"max_tokens": 1, "overlap": 0}), True, "max_chunk_size_tokens must be"),
        (line_of(DOCUMENTS, filename="\ud83d.md"), True, "documents.jsonl, line 1: it: Invalid JSON"),
        (line_of(CHUNKS, text="\ud83d"), True, "chunks.jsonl, line 1: it: Invalid JSON"),
        (line_of(CHUNKS, start=2**60), True, "chunks.jsonl, line 1: start: "),
        (line_of(CHUNKS, start=-1), True, "chunks.jsonl, line 1: start: "),
        (line_of(DOCUMENTS, chunks=10**9), True, "tells of more passages"),
    ],
)
def test_refusals_say_what_is_wrong_and_leave_nothing(
    open_memory: Open, change: Callable[[dict[str, bytes]], None], sealed: bool, said: str
) -> None:
    memory = open_memory()
    data = exported(memory, filled(memory))
    before = contents(memory)
    with pytest.raises(BundleRefused, match=said):
        memory.importer.import_(io.BytesIO(repacked(data, change, sealed)))
    assert nothing_new(memory, before)


def test_bombs_are_refused(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    data = exported(memory, filled(memory))
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as deflated:
        for name in archive.namelist():
            deflated.writestr(name, archive.read(name))
    with pytest.raises(BundleRefused, match="is packed or encrypted"):
        Bundle(packed)
    # All members in the same place, as in a bomb of overlapping files.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        places = [info.header_offset for info in archive.infolist()]
    overlapping = bytearray(data)
    second = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    overlapping[second + 42 : second + 46] = places[0].to_bytes(4, "little")
    with pytest.raises(BundleRefused, match=r"lies over another member|damaged"):
        Bundle(io.BytesIO(bytes(overlapping)))
    monkeypatch.setattr("index.bundle.MOST_MEMBERS", 5)
    with pytest.raises(BundleRefused, match="has 6 members; 5 are the most"):
        Bundle(io.BytesIO(data))
    monkeypatch.setattr("index.bundle.MOST_MEMBERS", 500)
    monkeypatch.setattr("index.bundle.LONGEST_LINE", 20)
    with pytest.raises(BundleRefused, match="is cut off or too long"):
        memory.importer.import_(io.BytesIO(data))


IMPORTING = """
import sys
from pathlib import Path
from index.memory import Memory
from tests.fakes import HashedWords
memory = Memory(Path(sys.argv[1]), HashedWords())
print("ready", flush=True)
for n in range(1000):
    with open(sys.argv[2], "rb") as file:
        print(memory.importer.import_(file, f"import{n}").store.id, flush=True)
"""


def test_an_import_that_is_killed_is_whole_or_nothing(open_memory: Open, tmp_path: Path) -> None:
    source = open_memory()
    store = filled(source)
    for number in range(12):
        put(source, f"{number}.md", f"The lake {number} is deep.", store)
    file, folder, dice = tmp_path / "valley.zip", tmp_path / "killed", random.Random(3)
    file.write_bytes(exported(source, store))
    wanted = everything(source, store)
    for _ in range(2):
        command = [sys.executable, "-c", IMPORTING, str(folder), str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(dice.uniform(0.05, 0.4))
            process.kill()
            acknowledged = process.stdout.read().splitlines()
        memory = open_memory("killed")
        found = {one.id for one in memory.stores(limit=1000).data if one.name.startswith("import")}
        assert set(acknowledged) <= found and len(found - set(acknowledged)) <= 1
        for one in found:
            assert everything(memory, one)[2:] == wanted[2:]
        assert memory.stats().files == len(found) * 15
        kept = {path.name for path in (folder / "originals").rglob("*") if path.is_file()}
        assert len(kept) == (14 if found else 0), "copies share their bytes, and nothing else is left"
        for one in found:
            for member in memory.store_files(one, limit=100).data:
                memory.delete_file(member.id)
            memory.delete_store(one)
        memory.close()
