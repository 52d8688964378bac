"""What a run keeps and leaves out is in its files, whenever it was killed."""

import json
from collections import Counter
from pathlib import Path

from app.train.kept import Kept


def test_what_is_kept_is_known_at_once_and_afterwards(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "rows.jsonl")
    kept.add("a", [{"question": "a"}, {"question": "altered"}], ["unclear"])
    kept.add("b", [], ["unclear", "wrong"])
    assert kept.known == Kept(tmp_path / "rows.jsonl").known == {"a", "altered", "b"}
    assert [json.loads(line)["question"] for line in kept.out.read_text().splitlines()] == ["a", "altered"]
    assert Kept(tmp_path / "rows.jsonl").reasons() == Counter({"unclear": 2, "wrong": 1})


def test_a_question_whose_rows_were_not_written_is_asked_again_and_its_reasons_count_once(tmp_path: Path) -> None:
    killed = Kept(tmp_path / "rows.jsonl")
    killed.add("a", [{"question": "a"}], ["unclear"])
    killed.out.unlink()
    again = Kept(tmp_path / "rows.jsonl")
    assert again.known == set()
    again.add("a", [{"question": "a"}], ["unclear"])
    assert again.reasons() == Counter({"unclear": 1})
