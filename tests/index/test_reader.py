"""The reader with the weights in the package, on passages written for these tests."""

import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.errors import InvalidRequest
from index.reader import SPAN_TOKENS, Floats, Reader, Window, best_span, joined, load_reader
from index.types import Mark

WEIGHTS = Path(__file__).parents[2] / "index" / "weights" / "reader"
CANTEEN = "The canteen on the third floor opens at 7:30 in the morning. Lunch is served until 14:15."
FOUNDED = "Halvorsen Pumps was founded in 1962 by Ingrid Halvorsen in a shed outside Bergen, with two employees."
ROW = "Plan: Pro; Seats: 25; Price per month: 49 EUR."
TABLE = f"""Plan: Free; Seats: 3; Price per month: 0 EUR.
{ROW}
Plan: Enterprise; Seats: 500; Price per month: 199 EUR."""
BACKUP = "Backups are taken every night at 02:00 and kept for 35 days. Restoring one takes about twenty minutes."
MÜLLER = "Naïve café 🎈 «Größe» — das Büro in 東京: the Tokyo office is led by Zoë Müller-Ångström since 2019. 🙂"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader(threads=1)


def marked(passage: str, mark: Mark) -> str:
    assert 0 <= mark.start < mark.end <= len(passage)
    return passage[mark.start : mark.end]


@pytest.mark.parametrize(
    ("question", "passage", "answer"),
    [
        ("When does the canteen open?", CANTEEN, "7:30"),
        ("When is lunch served?", CANTEEN, "14:15"),
        ("Who founded Halvorsen Pumps?", FOUNDED, "Ingrid Halvorsen"),
        ("In which year was Halvorsen Pumps founded?", FOUNDED, "1962"),
        ("How many seats does the Pro plan have?", ROW, "25"),
        ("How long are backups kept?", BACKUP, "35 days"),
        ("Who leads the Tokyo office?", MÜLLER, "Zoë Müller-Ångström"),
    ],
)
def test_the_answer_is_marked_and_probable(reader: Reader, question: str, passage: str, answer: str) -> None:
    (mark,) = reader.read(question, [passage])
    assert answer in marked(passage, mark)
    assert len(marked(passage, mark)) <= len(answer) + 25
    assert mark.probability > 0.5


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many seats does the Pro plan have?", "25"),
        ("How many seats does the Free plan have?", "3"),
        ("What is the price per month of the Enterprise plan?", "199 EUR"),
        ("What is the price per month of the Pro plan?", "49 EUR"),
    ],
)
def test_the_right_row_of_a_table_is_marked(reader: Reader, question: str, answer: str) -> None:
    (mark,) = reader.read(question, [TABLE])
    assert marked(TABLE, mark) == answer


def test_the_words_around_a_table_are_read_too(reader: Reader) -> None:
    passage = f"{BACKUP}\n\n{TABLE}\n\n{FOUNDED}"
    for question, answer in [
        ("How long are backups kept?", "35 days"),
        ("Who founded Halvorsen Pumps?", "Ingrid Halvorsen"),
        ("How many seats does the Pro plan have?", "25"),
    ]:
        (mark,) = reader.read(question, [passage])
        assert answer in marked(passage, mark)


@pytest.mark.parametrize(
    ("answering", "question"),
    [
        (0, "How long are backups kept?"),
        (1, "Who founded the company?"),
        (2, "When is lunch?"),
    ],
)
def test_an_unrelated_passage_is_improbable(reader: Reader, answering: int, question: str) -> None:
    marks = reader.read(question, [BACKUP, FOUNDED, CANTEEN])
    others = [mark.probability for i, mark in enumerate(marks) if i != answering]
    assert marks[answering].probability > 10 * max(others)
    assert max(others) < 0.2


def test_nothing_to_read(reader: Reader) -> None:
    nothing = Mark(0, 0, 0.0)
    assert reader.read("When does the canteen open?", []) == []
    assert reader.read("", [CANTEEN]) == [nothing]
    assert reader.read(" \n", [CANTEEN, ROW]) == [nothing, nothing]
    first, blank = reader.read("When does the canteen open?", [CANTEEN, " \t"])
    assert marked(CANTEEN, first)
    assert blank == nothing


def test_marks_do_not_depend_on_the_other_passages(reader: Reader) -> None:
    question, passages = "When does the canteen open?", [ROW, CANTEEN * 3, MÜLLER, CANTEEN]
    assert reader.read(question, passages) == [reader.read(question, [passage])[0] for passage in passages]


@pytest.mark.parametrize("before", [0, 150, 290, 1_000])
def test_a_long_passage_is_read_to_its_end(reader: Reader, before: int) -> None:
    filler = "The weather was mild and the roads were dry. "
    passage = filler * (before // 10) + FOUNDED + " " + filler * 40
    (mark,) = reader.read("Who founded Halvorsen Pumps?", [passage])
    assert marked(passage, mark) == "Ingrid Halvorsen"
    assert mark.probability > 0.5


def test_a_question_longer_than_its_limit_and_odd_characters(reader: Reader) -> None:
    question = "When does the canteen open? " + "And one more thing that I wanted to say. " * 200
    (mark,) = reader.read(question, [CANTEEN])
    assert marked(CANTEEN, mark)
    odd = "\ud800 [SEP] \x00\u200b" + CANTEEN
    (mark,) = reader.read("Until when is\udfff lunch served?", [odd])
    assert marked(odd, mark) == "14:15"


def test_marks_cover_whole_words_without_spaces_around(reader: Reader) -> None:
    passage = "  Our wellness officer is  Hyacinthia Quarrelsome-Featherstonehaugh , reachable on weekdays.  "
    (mark,) = reader.read("Who is the wellness officer?", [passage])
    span = marked(passage, mark)
    assert span == span.strip()
    assert not (passage[mark.start - 1].isalnum() or passage[mark.end].isalnum())
    assert "Hyacinthia" in span


def test_many_threads_share_one_reader(reader: Reader) -> None:
    asked = [("When does the canteen open?", CANTEEN), ("Who founded Halvorsen Pumps?", FOUNDED)] * 8
    alone = [reader.read(question, [passage]) for question, passage in asked[:2]] * 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: reader.read(pair[0], [pair[1]]), asked)) == alone


def test_torch_reads_the_same_weights_to_the_same_marks(reader: Reader, tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.onnx"))
    in_torch = load_reader(str(tmp_path))
    passages = [CANTEEN, MÜLLER, ROW, CANTEEN * 12, BACKUP]
    for question in ("When does the canteen open?", "Who leads the Tokyo office?", "How long are backups kept?"):
        for a, b in zip(reader.read(question, passages), in_torch.read(question, passages), strict=True):
            # Only what goes into each layer is rounded differently: enough for "7:30" or "7:30 in the morning".
            assert a.probability == pytest.approx(b.probability, abs=0.1)
            assert a.probability < 0.5 or (a.start < b.end and b.start < a.end)


def test_the_best_span_is_ordered_short_and_inside_the_passage() -> None:
    window = Window(ids=tuple(range(50)), passage=0, first=100, asked=10, offset=10)
    scores = np.zeros((50, 2), dtype=np.float32)
    scores[0] = [1, 2]
    scores[5] = scores[49] = 99  # the question and the last [SEP] are no answers
    scores[40, 0], scores[11, 1] = 9, 9  # an end before its start
    scores[12, 0], scores[45, 1] = 3, 3  # too far apart
    scores[15, 0], scores[15 + SPAN_TOKENS - 1, 1] = 7, 7
    assert best_span(scores, window) == (105, 105 + SPAN_TOKENS - 1, 14 - 3)


def test_probability_rises_with_the_lead(reader: Reader) -> None:
    probabilities = [reader._config.probability(lead) for lead in (-1e9, -10, -1, 0, 1, 10, 1e9)]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < 1e-6
    assert 1 - 1e-6 < probabilities[-1] <= 1


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"model\.safetensors") as fault:
        load_reader(str(tmp_path))
    assert fault.value.field == "path"
    with pytest.raises(InvalidRequest, match="threads"):
        load_reader(threads=0)


def test_questions_that_meet_are_read_in_one_pass_to_their_own_scores() -> None:
    passes, inside, go_on = list[int](), threading.Event(), threading.Event()

    def score(windows: Sequence[Window]) -> list[Floats]:
        passes.append(len(windows))
        inside.set()
        assert go_on.wait(10)
        return [np.full((1, 2), window.first, np.float32) for window in windows]

    together = joined(score)
    asked = [[Window((1, 2), 0, 10 * n + i, 1, 1) for i in range(n)] for n in range(1, 6)]
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(together, asked[0])
        assert inside.wait(10)
        others = [pool.submit(together, windows) for windows in asked[1:]]
        time.sleep(0.1)  # they queue
        go_on.set()
        found = [one.result(10) for one in (first, *others)]
    assert [[int(scores[0, 0]) for scores in each] for each in found] == [[w.first for w in each] for each in asked]
    assert passes[0] == 1 and sum(passes) == 15 and len(passes) < 5
