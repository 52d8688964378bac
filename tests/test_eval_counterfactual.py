"""Answers exchanged for others of their kind: the kinds, the exchange, and the set that comes of it."""

import json
import lzma
from pathlib import Path
from random import Random

import pytest

from app.eval.__main__ import main
from app.eval.metrics import contains
from app.eval.questions import load
from app.eval.sets.swaps import drawn, kind_of, related, swapped


@pytest.mark.parametrize(
    ("question", "answers", "kind"),
    [
        ("Who built it?", ["Thomas Edison", "Edison"], "person"),
        ("Who built it?", ["William E. Simon"], "person"),
        ("Who bought it?", ["Knight Ridder"], None),
        ("Who built it?", ["Thomas Edison", "his company"], None),
        ("How many trees are there?", ["1,548"], "count"),
        ("How many trees are there?", ["12"], None),
        ("How many trees are there?", ["427,652"], None),
        ("How much was lost?", ["1548"], None),
        ("When was it built?", ["1968"], "year"),
        ("In which year was it built?", ["1968", "in 1968"], None),
        ("When was it built?", ["1237"], None),
        ("In what city did they stay?", ["Dundee"], "place"),
        ("What is in Dundee?", ["Discovery"], None),
    ],
)
def test_a_kind_is_told_only_where_it_is_certain(question: str, answers: list[str], kind: str | None) -> None:
    assert kind_of(question, answers) == kind


@pytest.mark.parametrize(
    ("kind", "old"), [("person", "Thomas A. Edison"), ("count", "1,548"), ("year", "1851"), ("place", "Dundee")]
)
def test_a_new_value_is_of_the_same_kind(kind: str, old: str) -> None:
    for seed in range(50):
        swap = drawn(Random(seed), kind, old)
        new = swap[old]
        assert new != old
        if kind == "person":
            assert swap["Edison"] == new.split()[-1] and len(new.split()) == 2
        if kind in ("count", "year"):
            assert len(new) == len(old) and new.replace(",", "").isdigit()
        if kind == "year":
            assert abs(int(new) - int(old)) <= 60


def test_only_whole_values_are_replaced() -> None:
    assert swapped("In 1968, 1968's and 1968–69, not 19680 or 3.1968.", {"1968": "1950"}) == (
        "In 1950, 1950's and 1950–69, not 19680 or 3.1968."
    )
    assert swapped("45 and 45.5, $45 and 45,000", {"45": "61"}) == "61 and 45.5, $45 and 45,000"
    swap = {"Thomas Edison": "Mara Vosk", "Edison": "Vosk"}
    assert swapped("Thomas Edison (Edison's) and Edisonian", swap) == "Mara Vosk (Vosk's) and Edisonian"


def test_a_word_made_from_an_old_name_is_noticed() -> None:
    assert related("a Swedish ship", {"Sweden": "Vosk"})
    assert not related("a Swiss ship of Sweden", {"Sweden": "Vosk"})
    assert not related("in 19681", {"1968": "1950"})


TEXTS = {
    # What is asked of it, its answer and its paragraph; then a second paragraph of the same article.
    "Free": ("When was the mill built?", "1911", "The mill was built in 1911.", "It burned in 1911 and in 1920."),
    "Part": ("How many trees grow?", "450", "There grow 450 trees.", "Its price was $450."),
    "Told": ("Which city is near Dundee, in what city?", "Dundee", "It is in Dundee.", "Dundee is large."),
    "Made": ("In what country is it?", "Sweden", "It is in Sweden.", "The Swedish coast is long."),
    "Name": ("Who paid for it?", "James Hutton", "James Hutton paid for it.", "Hutton was proud of it."),
}


def _built(folder: Path) -> Path:
    (folder / "data" / "squad").mkdir(parents=True)
    with lzma.open(folder / "data" / "squad" / "dev.jsonl.xz", "wt", encoding="utf-8") as out:
        for title, (question, answer, first, second) in TEXTS.items():
            answers = [{"text": answer, "answer_start": first.index(answer)}]
            qas = [{"id": title, "question": question, "answers": answers}]
            for row in ({"context": first, "qas": qas}, {"context": second, "qas": []}):
                out.write(json.dumps({"title": title, **row}) + "\n")
    out_folder = folder / "out"
    assert main(["--build", "counterfactual", "--data", str(folder / "data"), "--out", str(out_folder)]) == 0
    return out_folder


def test_every_occurrence_in_the_article_is_exchanged_or_nothing_is_asked(tmp_path: Path) -> None:
    out = _built(tmp_path)
    asked = {question.id: question for question in load(str(out / "questions.jsonl"))}
    assert set(asked) == {"Free-year", "Name-person"}
    written = {path.name: path.read_text("utf-8") for path in (out / "documents").iterdir()}
    assert len(written) == 2 * len(TEXTS)
    for question in asked.values():
        article = " ".join(text for name, text in written.items() if name[:4] == (question.file or "")[:4])
        assert contains(written[question.file or ""], question.answers)
        assert question.former and not contains(article, question.former)
    assert "Hutton" not in "".join(written.values()) and "1911" not in "".join(written.values())
    # What could not be exchanged stands as it was.
    assert written["part-002.txt"] == "Its price was $450.\n" and written["made-001.txt"] == "It is in Sweden.\n"


def test_the_set_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (_built(tmp_path / name) / "questions.jsonl" for name in "ab")
    assert first.read_text("utf-8") == second.read_text("utf-8")
