"""Each measure's parts by hand, and its whole command on something small."""

import json
import lzma
from pathlib import Path

import pytest

from app.bench.__main__ import main
from app.bench.reader import Case, cases, f1, normalized, told
from app.bench.speculation import answer, paragraphs
from app.cores.load import TINY_FOLDER, load_tokenizer
from index.reader import Reader

PASSAGE = "The canteen opens at 7:30 in the morning. It is on the third floor."
ARTICLE = {
    "title": "Canteen",
    "context": PASSAGE,
    "qas": [
        {"id": "1", "question": "When does the canteen open?", "answers": [{"text": "7:30", "answer_start": 21}]},
        {"id": "2", "question": "On which floor is the canteen?", "answers": [{"text": "third", "answer_start": 55}]},
    ],
}


def test_answers_are_compared_as_squad_does() -> None:
    assert normalized("The  Quick, brown fox!") == ["quick", "brown", "fox"]
    assert f1("the third floor", "third") == pytest.approx(2 / 3)
    assert f1("Floor three", "the first") == 0
    assert f1("A", "the") == 1


def test_both_forms_of_the_file_are_read(tmp_path: Path) -> None:
    lines, whole = tmp_path / "dev.jsonl.xz", tmp_path / "dev.json"
    lines.write_bytes(lzma.compress(json.dumps(ARTICLE).encode()))
    whole.write_text(json.dumps({"data": [{"title": "Canteen", "paragraphs": [ARTICLE]}]}))
    assert list(cases(lines)) == list(cases(whole))
    assert next(cases(whole)) == Case("When does the canteen open?", PASSAGE, ("7:30",))


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dev.jsonl"
    file.write_text(json.dumps(ARTICLE) + "\n")
    main(["reader", str(file), "--questions", "0", "--facts", "20", "--against", ""])
    facts, squad = capsys.readouterr().out.split("2 questions")
    printed = facts + squad
    assert facts.startswith("20 invented facts") and facts.count("(package)") == squad.count("(package)") == 2
    assert printed.endswith("equal spans: 100.0 %\n")


def test_the_packages_reader_tells_a_fact_from_its_like(reader: Reader) -> None:
    facts = told(reader, 40)
    assert facts.exact > 70 and facts.first > 70 and facts.area > 0.9


def test_an_unknown_bench_names_the_known() -> None:
    with pytest.raises(SystemExit, match="reader"):
        main(["nothing"])


def test_a_passage_that_the_reader_prefers_moves_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoys = [f"The canteen opens, the canteen opens: a song in {n} verses, when does the canteen open?" for n in "23"]
    asked = [{"id": "3", "question": "Which song?", "answers": [{"text": "a song", "answer_start": 0}]}]
    file, other = tmp_path / "dev.jsonl", tmp_path / "train.jsonl"
    file.write_text(json.dumps(ARTICLE) + "\n")
    other.write_text("".join(json.dumps({"title": "Songs", "context": text, "qas": asked}) + "\n" for text in decoys))
    main(["rerank", str(other), str(file), "--threads", "1"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("2 questions over 3 passages")
    fused, reread = ([float(share) for share in line.split()[1:-1]] for line in printed[2:4])
    assert fused[0] < reread[0] == 100.0 and fused == sorted(fused) and fused[-1] == reread[-1] == 100.0
    main(["rerank", str(other), str(file), "--reader", "none"])
    assert capsys.readouterr().out.splitlines() == printed[:3]


def test_what_an_answer_copies_stands_in_its_prompt() -> None:
    tokenizer = load_tokenizer(TINY_FOLDER)
    answers = [answer(tokenizer, paragraphs(), stream) for stream in range(32)]
    assert len({tuple(one.prompt) for one in answers}) == 32
    for one in answers:
        prompt, text = str(tokenizer.decode(one.prompt)), str(tokenizer.decode(one.text))
        quotes = [line.split(": ", 1)[1].rsplit(" [", 1)[0] for line in text.splitlines()]
        assert len(quotes) == 4 and all(quote in prompt for quote in quotes)
        assert 0.5 < one.copied / len(one.text) < 0.8
        assert 200 < len(one.prompt) + len(one.text) < 1024


def test_drafts_are_compared_on_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    main(["speculation", "--core", "tiny", "--streams", "1", "--repeats", "1", "--threads", "1"])
    head, line = capsys.readouterr().out.splitlines()[1:]
    told = dict(zip(head.split(), line.replace(" %", "").split(), strict=True))
    assert (told["core"], told["streams"]) == ("tiny", "1")
    assert float(told["on/off"]) > 0
    assert float(told["drafted"]) > 0.3 and float(told["kept"]) > 50


def test_the_start_of_a_made_memory_is_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("index.keeper.LEAST", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    main(["start", "--chunks", "60", "--document", "20"])
    texts, fresh, stale = capsys.readouterr().out.splitlines()[1:]
    assert texts.startswith("from the texts") and fresh.startswith("with a fresh snapshot")
    assert stale.startswith("with one that lacks 1 %")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("faiss", "kind"), [("exact", "exact"), ("IVF8,RaBitQfs", "IVF8,RaBitQfs")])
def test_a_made_index_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], faiss: str, kind: str
) -> None:
    monkeypatch.setattr("app.bench.dense.EXACT_UP_TO", 100)
    main(["dense", "--vectors", "1000", "--questions", "3", "--faiss", faiss])
    first, found, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{kind}, 1000 vectors, 3 questions" and float(found.split()[1]) >= 0.98 and len(rest) == 2


def test_a_search_in_milvus_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
    file = tmp_path / "dev.jsonl"
    file.write_text(json.dumps(ARTICLE) + "\n")
    main(["milvus", str(file)])
    first, _, _, recall, both = capsys.readouterr().out.splitlines()
    assert (
        first.startswith("Milvus Lite, 1 passages, 2 questions") and recall.endswith("1.000") and both.endswith("1.000")
    )
