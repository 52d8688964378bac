"""The command against a server whose replies are known."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from app.eval.__main__ import main
from app.eval.questions import Question, save


def _completion(question: str) -> dict[str, Any]:
    """What a server with one document says: it finds one passage for days, and abstains from the rest."""
    passage = {"file_id": "file-1", "filename": "leave.md", "chunk_id": "chunk/1"}
    place = {"start": 4, "end": 30, "page": None, "quote": "get 26 days of vacation"}
    known = "days" in question
    told = {
        "answer": "26 days" if known else None,
        "need": 0.9,
        "confidence": 0.8 if known else 0.1,
        "abstained": not known,
        "searches": [{"query": question, "store": "leave", "hits": [{**passage, "score": 0.9, **place}]}],
        "calculations": [],
        "citations": [{**passage, **place}] if known else [],
        "rounds": [{"prompt": 40, "cached": 0, "generated": 9}, {"prompt": 100, "cached": 49, "generated": 9}],
    }
    return {"choices": [{"message": {"content": "…"}, "finish_reason": "stop"}], "cogcore": told}


class Known(BaseHTTPRequestHandler):
    """The few routes that an evaluation uses, for a store that is being filled."""

    polls = 0
    uploads: ClassVar[list[bytes]] = []
    asked: ClassVar[list[dict[str, Any]]] = []

    def _json(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/vector_stores":
            # Two pages, so that paging is seen to work.
            first = "after" not in self.path
            other, asked = {"id": "vs_0", "name": "documents", "aliases": ["default"]}, {"id": "vs_1", "name": "leave"}
            data = [other] if first else [{**asked, "aliases": []}]
            self._json({"data": data, "has_more": first, "last_id": data[-1]["id"]})
        elif path == "/v1/vector_stores/vs_1":
            type(self).polls += 1
            counts = {"in_progress": int(self.polls == 1), "completed": 1, "failed": 0}
            self._json({"file_counts": counts})
        elif path == "/v1/passages/chunk%2F1":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html><blockquote>New staff &amp; all get 26 days of vacation</blockquote>")
        else:
            self._json({"data": [], "has_more": False, "last_id": None})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/chat/completions":
            request = json.loads(body)
            assert request["model"] == "cogcore/leave"
            type(self).asked.append(request)
            self._json(_completion(request["messages"][-1]["content"]))
        else:
            type(self).uploads.append(body)
            self._json({"id": "file-1"})

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("app.eval.store.POLL", 0.01)
    Known.polls, Known.uploads, Known.asked = 0, [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Known)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def _set(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"id": "1", "question": "How many days?", "kind": "fact", "answers": ["26", "26 days"], "search": True},
        {"id": "2", "question": "Who won?", "kind": "unanswerable", "answers": [], "search": True},
        {"id": "3", "question": "Hi!", "kind": "talk", "answers": [], "search": False},
    ]
    gold: list[dict[str, Any]] = [
        {"file": "leave.md", "evidence": "& all get 26 days"},
        *[{"file": None, "evidence": None}] * 2,
    ]
    path = folder / "set.jsonl"
    path.write_text("\n".join(json.dumps({**r, **g}) for r, g in zip(rows, gold, strict=True)), "utf-8")
    return path


def test_the_command_against_known_replies(known: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    argv = [str(_set(tmp_path)), "--base-url", f"{known}/v1", "--store", "leave", "--json", str(out)]
    assert main(argv) == 0
    assert Known.polls == 2
    told = json.loads(out.read_text("utf-8"))
    summary = told["summary"]
    assert (summary["exact_match"], summary["recall_at_5"], summary["citation_precision"]) == (1.0, 1.0, 1.0)
    assert (summary["decision_accuracy"], summary["over_search"]) == (pytest.approx(2 / 3), 1.0)
    assert (summary["abstention_precision"], summary["abstention_recall"]) == (0.5, 1.0)
    assert summary["prefilled_per_round"] == [40, 51]
    assert (summary["valid_protocol"], summary["citation_precision_when_right"]) == (1.0, 1.0)
    assert [row["id"] for row in told["questions"]] == ["1", "2", "3"]
    assert told["questions"][0]["reply"]["found"][0]["filename"] == "leave.md"
    printed = capsys.readouterr().out
    assert "decision accuracy" in printed and "unanswerable" in printed


def test_a_question_may_name_its_store_and_file_and_forbid_the_search(known: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    fact = Question("f", "How many days?", "fact", ("26",), True, "leave.md", None, store="leave", tool_choice="none")
    given = Question(
        "g", "Who?", "fact", ("I",), True, "leave.md", None, store="leave", given=True, past=("Hi", "Hello")
    )
    save([fact, given, Question("u", "Who won?", "unanswerable", (), True, None, None, store="leave")], path)
    assert main([str(path), "--base-url", known]) == 0
    # The store was waited for before anything was asked of it.
    assert Known.polls == 2
    assert [request.get("tool_choice") for request in Known.asked] == ["none", None, None]
    only = {"filters": {"type": "eq", "key": "filename", "value": "leave.md"}}
    assert [request.get("cogcore") for request in Known.asked] == [None, only, None]
    said = [[(message["role"], message["content"]) for message in request["messages"]] for request in Known.asked]
    assert said[1] == [("user", "Hi"), ("assistant", "Hello"), ("user", "Who?")] and len(said[0]) == len(said[2]) == 1


def test_documents_are_uploaded_first(known: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "leave.md").write_text("New staff get 26 days.", "utf-8")
    argv = [str(_set(tmp_path)), "--base-url", known, "--store", "leave", "--documents", str(tmp_path / "docs")]
    assert main(argv) == 0
    assert b"New staff get 26 days." in Known.uploads[0]
    assert json.loads(Known.uploads[1]) == {"file_id": "file-1"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "FILE"),
        (["missing.jsonl"], "missing.jsonl is no file"),
        (["sample", "--base-url", "http://127.0.0.1:1"], "no server answers"),
        (["--build", "squad"], "--out"),
        (["--build", "squad", "--out", "x"], "--data: name the folder"),
        (["--compare", "a.json", "b.json"], "a.json is no report"),
        (["--build", "squad", "--data", "/nowhere", "--out", "x"], "dev.jsonl.xz is missing"),
    ],
)
def test_what_cannot_be_measured_is_explained(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_store_that_is_not_there_is_named(known: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(_set(tmp_path)), "--base-url", known, "--store", "levae"]) == 2
    assert "no store named levae" in capsys.readouterr().err
