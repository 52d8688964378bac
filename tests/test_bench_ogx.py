"""The measure beside OGX, without OGX: its logic by hand, and both sides played by one small server."""

import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.bench.ogx import OGX, OURS, Asked, Side, answers, configuration, pieces, squad, told


def test_pieces_are_whole_files_and_end_at_the_size() -> None:
    files = [(f"{n}.txt", b"x" * 850) for n in range(100)]
    cut = list(pieces(iter(files), 40))
    assert [len(part) for part in cut] == [2] * 20
    assert [name for part in cut for name, _ in part] == [name for name, _ in files[:40]]
    assert [len(part) for part in pieces(iter(files[:3]), 40)] == [2, 1]


def test_a_hit_answers_where_it_is_of_the_file_and_has_an_answer() -> None:
    asked = Asked("When?", "squad-0.txt", ["In 1807", "1807 AD"])
    hit = {"filename": "squad-0.txt", "content": [{"type": "text", "text": "The bridge was built in\n 1807."}]}
    assert answers(asked, hit)
    assert not answers(asked, {**hit, "filename": "squad-1.txt"})
    assert not answers(asked, {**hit, "content": [{"type": "text", "text": "The bridge was built in 1808."}]})


def test_questions_belong_to_the_file_of_their_paragraph(tmp_path: Path) -> None:
    rows = [
        {"context": f"Bridge {n}.", "qas": [{"question": f"Which {n}?", "answers": [{"text": str(n)}]}]}
        for n in range(50)
    ]
    (tmp_path / "squad").mkdir()
    packed = lzma.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "squad" / "dev.jsonl.xz").write_bytes(packed)
    files, asked = squad(tmp_path)
    texts = {name: data.decode().split("\n\n") for name, data in files}
    assert [len(part) for part in texts.values()] == [40, 10]
    assert all(f"Bridge {one.answers[0]}." in texts[one.file] for one in asked)
    assert [one.question for one in asked] != [f"Which {n}?" for n in range(50)]


def test_a_side_counts_asks_and_is_told(small: Callable[[str], httpx.Client]) -> None:
    ours = Side(OURS, small(OURS), {"fused": {"ranking_options": {"ranker": "none"}}, "reread": {}})
    theirs = Side(OGX, small(OGX), {"vectors": {}})
    for side in (ours, theirs):
        side.open()
        for n in range(3):
            side.count(side.ingest([(f"{n}.txt", b"one two")]))
        side.ask(Asked("Which?", "0.txt", ["one"]))
    assert (ours.chunks, theirs.chunks) == ([2] * 4, [3] * 4)
    ours.seconds, theirs.seconds = [9.0, 1.0, 1.0, 1.0], [9.0, 2.0, 3.0, 4.0]
    lines = told(ours, theirs).split("\n")
    assert lines[0].split()[-3:] == ["2.0", "1.0", "3.00"]
    assert lines[1].split()[-3:] == ["2.0", "1.5", "2.00"]
    assert lines[2].split()[-3:] == ["2.0", "0.8", "4.00"]
    assert lines[3].split()[-2:] == ["0", "0"]
    assert [re.sub(r"\d+\.\d +", "", line.strip(), count=1).split()[-1] for line in lines[5:]] == [
        "100.0",
        "0.0",
        "0.0",
    ]


def test_a_file_that_is_not_taken_is_told_and_not_counted(small: Callable[[str], httpx.Client]) -> None:
    theirs = Side(OGX, small(OGX), {})
    theirs.store = "/v1/vector_stores/vs_1"
    theirs.count(theirs.ingest([("0.txt", b"one two"), ("bad.txt", b"one two")]))
    assert (theirs.lost, theirs.chunks) == (1, [3])


@pytest.fixture
def small() -> Callable[[str], httpx.Client]:
    """A server by name: ours makes two chunks of a file, OGX three; it finds the file only where it may not reread."""

    def client(name: str) -> httpx.Client:
        attached = list[str]()

        def answer(request: httpx.Request) -> httpx.Response:
            match request.method, request.url.path:
                case "POST", "/v1/vector_stores":
                    return httpx.Response(200, json={"id": "vs_1"})
                case "POST", "/v1/files":
                    return httpx.Response(200, json={"id": "file_bad" if b"bad.txt" in request.content else "file_1"})
                case "POST", "/v1/vector_stores/vs_1/file_batches":
                    sent = json.loads(request.content)
                    assert sent["chunking_strategy"]["static"]["max_chunk_size_tokens"] == 200
                    attached.extend(sent["file_ids"])
                    return httpx.Response(200, json={"id": "b_1", "status": "in_progress"})
                case "GET", "/v1/vector_stores/vs_1/file_batches/b_1":
                    return httpx.Response(200, json={"status": "completed", "file_counts": {"completed": 1}})
                case "GET", "/v1/vector_stores/vs_1/files/file_1" | "/v1/vector_stores/vs_1/files/file_bad":
                    bad = request.url.path.endswith("bad")
                    return httpx.Response(200, json={"status": "failed" if bad else "completed"})
                case "GET", "/v1/vector_stores/vs_1/files/file_1/content":
                    return httpx.Response(200, json={"data": [{}] * 3})
                case "GET", "/metrics":
                    return httpx.Response(200, text=f"# HELP\ncogcore_chunks {2.0 * len(attached)}\n")
                case "POST", "/v1/vector_stores/vs_1/search":
                    fused = "ranking_options" in json.loads(request.content)
                    hit = {"filename": "0.txt", "content": [{"text": "one two"}]}
                    return httpx.Response(200, json={"data": [hit] if fused else []})
            return httpx.Response(404, text=f"{name} has no {request.url.path}")

        return httpx.Client(base_url="http://small", transport=httpx.MockTransport(answer))

    return client


def test_ogx_is_told_the_embedders_folder_and_its_own(tmp_path: Path) -> None:
    told_ = configuration(tmp_path / "model", 384)
    (model,) = told_["registered_resources"]["models"]
    assert (model["provider_model_id"], model["metadata"]) == (str(tmp_path / "model"), {"embedding_dimension": 384})
    assert told_["storage"]["backends"]["kv_default"]["db_path"] == "${env.COGCORE_DATA_DIR}/kv.db"
