"""`cogcore eval` with the server that it starts itself: the real one, only its core is untrained and so knows nothing.

What is measured of such a core is noise; that everything is asked, found, cited and counted is not.
"""

import json
import shutil
from pathlib import Path

import pytest

from app.eval.__main__ import main
from app.sample import DOCUMENTS
from tests.untrained import untrained


def test_the_whole_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "core": untrained(tmp_path / "core"),
        "data_dir": tmp_path / "data",
        "reader": "none",
        "sample": "false",
        "threads": 1,
    }
    # Always search, always answer: an untrained core would otherwise do either by chance.
    for name, value in {**given, "need_threshold": 0, "abstain_below": 0, "device": "cpu"}.items():
        monkeypatch.setenv(f"COGCORE_{name.upper()}", str(value))
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in ("leave-and-travel.md", "price-list.docx"):
        shutil.copy(DOCUMENTS / name, documents)
    monkeypatch.setattr("app.eval.store.POLL", 0.1)
    out = tmp_path / "out.json"
    argv = ["sample", "--documents", str(documents), "--store", "two", "--limit", "6", "--concurrency", "4"]
    assert main([*argv, "--json", str(out)]) == 0
    told = json.loads(out.read_text("utf-8"))
    assert told["summary"]["failed"] == 0 and told["summary"]["under_search"] == 0.0
    assert len(told["questions"]) == 6
    for row in told["questions"]:
        reply = row["reply"]
        assert reply["searches"] == 1 and 0 <= reply["confidence"] <= 1 and len(reply["prefilled"]) >= 2
        assert {hit["filename"] for hit in reply["found"]} <= {"leave-and-travel.md", "price-list.docx"}
        assert reply["found"] and all(hit["text"] for hit in reply["found"])
