"""Question sets and documents made from development data, here small and of the same layout."""

import json
import lzma
import tarfile
from pathlib import Path

from app.agent.tools import calculate
from app.eval.__main__ import main
from app.eval.questions import load


def _data(folder: Path) -> Path:
    """SQuAD in small: three articles of 100 paragraphs with two questions each."""
    rows = []
    for title in ("Super_Bowl_50", "Warsaw", "Île_de_Ré"):
        for n in range(100):
            answers = [{"text": f"word {n}", "answer_start": 0}] * 3
            qas = [{"id": f"{title}{n}{q}", "question": f" What {q}? ", "answers": answers} for q in "ab"]
            rows.append({"title": title, "context": f"word {n} of {title}", "qas": qas})
    (folder / "squad").mkdir(parents=True)
    with lzma.open(folder / "squad" / "dev.jsonl.xz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def test_squad_becomes_documents_and_questions(tmp_path: Path) -> None:
    data, out = _data(tmp_path / "data"), tmp_path / "out"
    assert main(["--build", "squad", "--data", str(data), "--out", str(out)]) == 0
    assert len(list((out / "documents").iterdir())) == 300
    assert (out / "documents" / "super-bowl-50-001.txt").read_text("utf-8") == "word 0 of Super_Bowl_50\n"
    asked = load(str(out / "questions.jsonl"))
    assert len(asked) == 500 and all(len(q.answers) == 1 and q.search for q in asked)
    for question in asked:
        assert question.file and question.answers[0] in (out / "documents" / question.file).read_text("utf-8")


def test_squad_absent_leaves_out_what_would_answer(tmp_path: Path) -> None:
    data = _data(tmp_path / "data")
    main(["--build", "squad", "--data", str(data), "--out", str(tmp_path / "with")])
    main(["--build", "squad-absent", "--data", str(data), "--out", str(tmp_path / "without")])
    gold = {q.file for q in load(str(tmp_path / "with" / "questions.jsonl"))}
    left = {path.name for path in (tmp_path / "without" / "documents").iterdir()}
    asked = load(str(tmp_path / "without" / "questions.jsonl"))
    assert left and not gold & left and len(gold | left) == 300
    assert all(q.kind == "unanswerable" and not q.answers for q in asked)


def test_docs_are_unpacked_without_licences(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "docs_kb"
    folder.mkdir(parents=True)
    (tmp_path / "page.md").write_text("# Page", "utf-8")
    with tarfile.open(folder / "docs_kb.tar.xz", "w:xz") as archive:
        for name in ("one+two/docs/page.md", "one+two/LICENSE"):
            archive.add(tmp_path / "page.md", name)
    argv = ["--build", "docs_kb", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["page.md"]
    assert main(argv) == 2


def test_decisions_are_small_talk_and_sums_that_need_no_document(tmp_path: Path) -> None:
    (tmp_path / "clinc150").mkdir()
    rows = [
        {"text": "hi there", "intent": "greeting", "domain": "small_talk"},
        {"text": "move my flight", "intent": "flight", "domain": "travel"},
    ]
    with lzma.open(tmp_path / "clinc150" / "val.jsonl.xz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    assert main(["--build", "decisions", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    talk, *sums = load(str(tmp_path / "out" / "questions.jsonl"))
    assert talk.question == "hi there" and len(sums) == 200 and not any(q.search for q in (talk, *sums))
    assert all(q.answers == (calculate(q.answers[0]),) for q in sums)
