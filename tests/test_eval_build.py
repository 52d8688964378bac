"""Question sets and documents made from development data, here small and of the same layout."""

import json
import lzma
import tarfile
from pathlib import Path

import pytest

from app.agent.tools import calculate
from app.eval.__main__ import main
from app.eval.metrics import quotes
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


def test_squad_given_asks_each_paragraph_alone(tmp_path: Path) -> None:
    data, out = _data(tmp_path / "data"), tmp_path / "out"
    main(["--build", "squad-given", "--data", str(data), "--out", str(out)])
    asked = load(str(out / "questions.jsonl"))
    assert len(asked) == 500 and all(q.given for q in asked)
    assert {path.name for path in (out / "documents").iterdir()} == {q.file for q in asked}


def test_squad_absent_leaves_out_what_would_answer(tmp_path: Path) -> None:
    data = _data(tmp_path / "data")
    main(["--build", "squad", "--data", str(data), "--out", str(tmp_path / "with")])
    main(["--build", "squad-absent", "--data", str(data), "--out", str(tmp_path / "without")])
    gold = {q.file for q in load(str(tmp_path / "with" / "questions.jsonl"))}
    left = {path.name for path in (tmp_path / "without" / "documents").iterdir()}
    asked = load(str(tmp_path / "without" / "questions.jsonl"))
    assert left and not gold & left and len(gold | left) == 300
    assert all(q.kind == "unanswerable" and not q.answers for q in asked)


def test_leak_asks_the_same_with_the_search_forbidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _data(tmp_path / "data")
    main(["--build", "squad", "--data", str(data), "--out", str(tmp_path / "with")])
    assert main(["--build", "leak", "--data", str(data), "--out", str(tmp_path / "leak"), "--store", "squad"]) == 0
    assert capsys.readouterr().out.endswith(f"cogcore eval {tmp_path / 'leak' / 'questions.jsonl'} --store squad\n")
    known, asked = (load(str(tmp_path / name / "questions.jsonl")) for name in ("with", "leak"))
    assert [(q.question, q.answers) for q in known] == [(q.question, q.answers) for q in asked]
    assert all(q.tool_choice == "none" and not q.search and q.documented for q in asked)
    assert not (tmp_path / "leak" / "documents").exists()


def test_follow_ups_come_after_an_answered_question(tmp_path: Path) -> None:
    assert main(["--build", "follow-ups", "--out", str(tmp_path)]) == 0
    asked = load(str(tmp_path / "questions.jsonl"))
    assert len(asked) == 150 and len(list((tmp_path / "documents").glob("*/*.md"))) == 900
    for question in asked:
        text = (tmp_path / "documents" / str(question.store) / str(question.file)).read_text("utf-8")
        assert question.answers[0] in text
        assert len(question.past) == 2 and question.past[1].startswith("The answer is ")


def test_unseen_worlds_are_stores_with_questions_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--build", "unseen-worlds", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    asked = load(str(tmp_path / "questions.jsonl"))
    stores = {q.store for q in asked}
    assert len(asked) == 300 and len(stores) == 6
    assert printed[-1] == f"cogcore eval {tmp_path / 'questions.jsonl'}"
    for store in stores:
        assert f"cogcore ingest {tmp_path / 'documents' / str(store)} --store {store}" in printed
        assert len([q for q in asked if q.store == store]) == len({q.question for q in asked if q.store == store}) == 50
    assert {q.kind for q in asked} == {"fact", "table", "unanswerable"}
    for q in asked:
        assert q.documented == bool(q.answers) == bool(q.evidence)
        if q.file and q.evidence:
            text = (tmp_path / "documents" / str(q.store) / q.file).read_text("utf-8")
            assert quotes(text, q.evidence) and q.answers[0] in q.evidence


def test_two_hops_need_two_passages_of_their_store(tmp_path: Path) -> None:
    assert main(["--build", "two-hop", "--out", str(tmp_path)]) == 0
    asked = load(str(tmp_path / "questions.jsonl"))
    assert [sum(q.kind == kind for q in asked) for kind in ("fact", "unanswerable")] == [150, 50]
    assert len({q.question for q in asked}) == len(asked)
    for q in asked:
        documents = {path.name: path.read_text("utf-8") for path in (tmp_path / "documents" / str(q.store)).iterdir()}
        assert len(documents) == 12
        if q.file and q.evidence:
            assert q.evidence in documents[q.file] and q.answers[0] in q.evidence
            # No passage gives the answer to whoever knows only the question's names.
            about = [w for w in q.question.rstrip("?").split() if w[0].isupper() and w not in q.question.split()[0]]
            assert about and not all(word in q.evidence for word in about)


def test_reckonings_are_sums_over_what_a_document_states(tmp_path: Path) -> None:
    assert main(["--build", "reckonings", "--out", str(tmp_path)]) == 0
    asked = load(str(tmp_path / "questions.jsonl"))
    kinds = ("reckoning", "fact", "unanswerable")
    assert [sum(q.kind == kind for q in asked) for kind in kinds] == [120, 30, 50]
    for q in asked:
        if q.file and q.evidence:
            assert q.evidence in (tmp_path / "documents" / str(q.store) / q.file).read_text("utf-8")
            assert q.kind == "reckoning" or q.answers[0] in q.evidence


def test_conflicts_are_settled_or_must_be_told(tmp_path: Path) -> None:
    assert main(["--build", "conflicts", "--out", str(tmp_path)]) == 0
    asked = load(str(tmp_path / "questions.jsonl"))
    assert len(asked) == 120 and 30 < sum(bool(q.also) for q in asked) < 70
    for q in asked:
        folder = tmp_path / "documents" / str(q.store)
        first, second = (folder / f"{q.id.rpartition('-')[2]:0>3}-{k}.md" for k in range(2))
        assert bool(q.former) != bool(q.also) and q.file == first.name
        assert q.answers[0] in first.read_text("utf-8")
        assert (*q.former, *q.also)[0] in second.read_text("utf-8")


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
    said = {"train": ["whats cooking doc"], "val": ["hail, stranger", "What's cooking, doc?", "Hiya pal."]}
    for part, texts in said.items():
        rows = [{"text": text, "intent": "greeting", "domain": "small_talk"} for text in texts]
        rows.append({"text": "move my flight", "intent": "flight", "domain": "travel"})
        with lzma.open(tmp_path / "clinc150" / f"{part}.jsonl.xz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
    assert main(["--build", "decisions", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    talk, *sums = load(str(tmp_path / "out" / "questions.jsonl"))
    assert talk.question == "hail, stranger"  # the others are trained on
    assert len(sums) == 200 and not any(q.search for q in (talk, *sums))
    assert all(q.answers == (calculate(q.answers[0]),) for q in sums)
