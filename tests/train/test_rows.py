"""What of a sum is learned, and how much: most what decides which sum it is, and nothing that a mask spells out."""

import pytest

from app.agent.prompt import Renderer
from app.cores import grammar
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.cores.profile import TINY
from app.train.check import right
from app.train.core import build_model
from app.train.rows import CHOICE, LITERAL, TERM, VALUE, Row, Turns
from app.train.searches import hit_of
from index.types import Mark


@pytest.fixture(scope="module")
def turns() -> Turns:
    return Turns(Renderer(load_tokenizer(TINY_FOLDER), TINY))


def weighed(turns: Turns, row: Row, text: str) -> list[tuple[str, float]]:
    """The last tokens of the row that spell the text, with their weights."""
    ids = turns.renderer.tokenizer.encode(text, add_special_tokens=False)
    start = next(n for n in reversed(range(len(row.ids))) if row.ids[n : n + len(ids)] == ids)
    return [
        (str(turns.renderer.tokenizer.decode([row.ids[n]])), row.weights[n]) for n in range(start, start + len(ids))
    ]


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("588 - 1,250.5", ["5", " -", "1"]),
        ("(12.50 + 4) * 20%", ["1", " +", "4", " ", "*", "2"]),
        ("-6 * sqrt(49)", ["-", "6", " ", "*", " s", "4"]),
        ("7 ** 3", ["7", " ", "*", "*", "3"]),
    ],
)
def test_what_decides_a_sum_weighs_more_than_the_rest_of_it(turns: Turns, expression: str, terms: list[str]) -> None:
    row = turns.calculate((), "a message", expression)
    told = weighed(turns, row, expression)
    assert [token for token, weight in told if weight == TERM] == terms
    assert {weight for _, weight in told} == {TERM, VALUE}


def test_the_result_is_not_learned_and_what_stands_around_it_is(turns: Turns) -> None:
    hits = [hit_of("The lamp costs 12.50 euros.", Mark(15, 26, 0.5))]
    over = turns.reckon((), "What do 4 lamps cost?", "What do 4 lamps cost?", hits, 1, "12.50 * 4")
    for row in (turns.calculate((), "25 + 25", "25 + 25"), over):
        assert {weight for _, weight in weighed(turns, row, " 50")} == {0.0}
        assert {weight for _, weight in weighed(turns, row, grammar.RESULT)} == {LITERAL}
        assert row.weights[-1] == LITERAL
    assert weighed(turns, over, "12.50 * 4")[0] == ("1", TERM)
    assert over.weights.count(CHOICE) == 2


def test_the_check_counts_an_expression_as_a_value(turns: Turns) -> None:
    row = turns.calculate((), "7 ** 3", "7 ** 3")
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }
    protocol, values = right(build_model(turns.renderer.tokenizer, shape), row)
    assert len(values) == len(weighed(turns, row, "7 ** 3"))
    assert len(protocol) + len(values) == sum(weight > 0 for weight in row.weights)
