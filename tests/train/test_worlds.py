"""What is invented for training: facts that their passages state, and documents that answer what they should."""

from random import Random

import pytest
from transformers import AutoTokenizer

from app.agent.mask import GrammarMask, vocabulary_of
from app.cores import grammar
from app.cores.load import TINY_FOLDER
from app.train import worlds
from app.train.conditions import Condition, conditions, statement
from app.train.followups import follow_up
from app.train.organisations import organisation
from app.train.values import KINDS
from app.train.worlds import domains, fact

VOCABULARY = vocabulary_of(AutoTokenizer.from_pretrained(TINY_FOLDER))


def test_every_schema_states_its_value_once_and_names_only_subjects_that_it_has() -> None:
    for domain in domains():
        assert len({a.column for a in domain.attributes}) == len(domain.attributes) >= 6, domain.name
        assert all("{s}" not in text for text in domain.fillers), domain.name
        for attribute in domain.attributes:
            assert bool(attribute.values) != bool(attribute.value), (domain.name, attribute.column)
            assert attribute.values or attribute.value in KINDS, (domain.name, attribute.column)
            assert all(s.count("{v}") == 1 for s in attribute.statements), (domain.name, attribute.column)
            asked = [*attribute.questions, *attribute.evasions]
            assert all("{v}" not in text for text in asked), (domain.name, attribute.column)
            if not domain.subjects:
                assert all("{s}" not in text for text in [*attribute.statements, *asked]), (
                    domain.name,
                    attribute.column,
                )


@pytest.mark.parametrize("seed", range(60))
def test_a_fact_stands_where_it_says_and_nothing_is_left_to_fill_in(seed: int) -> None:
    made = fact(Random(seed))
    texts = [made.passage.text, *(other.text for other in made.others)]
    assert not any(mark in text for text in [*texts, made.question] for mark in ("\0", "{", "}"))
    assert made.passage.text[made.start : made.end].strip() == made.passage.text[made.start : made.end] != ""
    assert made.passage.text not in texts[1:]


@pytest.mark.parametrize("seed", range(40))
def test_a_conditional_fact_stands_under_the_condition_that_is_asked_for(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "CONDITIONAL", 1.0)
    rng = Random(seed)
    page = worlds.Page(rng)
    asked = page.take()
    assert page.condition and page.condition.text not in {other.text for other in page.conditions}
    question, (passage, start, end) = page.question(asked), page.stating(asked)
    under = page.condition.text.lower()
    assert under in question.lower() and under in passage.text.lower() and start < end
    assert under not in page._otherwise(asked).text.lower()


def test_conditions_of_one_kind_differ_and_stand_in_front_or_at_the_end() -> None:
    for seed in range(100):
        assert len({drawn.text for drawn in conditions(Random(seed), 3)}) == 3
    said = {statement(Random(n), "The fee for {s} is {v}.", "entry", "9", Condition("for seniors")) for n in range(40)}
    assert said == {"the fee for entry is 9 for seniors.", "For seniors, the fee for entry is 9."}
    asked = {Condition("in winter").asked(Random(n), "What does it cost?") for n in range(40)}
    assert asked == {"What does it cost in winter?", "In winter, what does it cost?"}


def test_draws_depend_on_the_seed_alone() -> None:
    assert fact(Random(5)) == fact(Random(5)) != fact(Random(6))


@pytest.mark.parametrize("seed", range(10))
def test_an_organisation_writes_down_what_it_says_it_answers_and_leaves_much_open(seed: int) -> None:
    made = organisation(Random(seed))
    answered = [asked for asked in made.asked if asked.evidence]
    assert len(answered) > 30 and len(made.asked) - len(answered) > 20
    whole = "\n".join(made.documents.values())
    for asked in answered:
        assert asked.value in asked.evidence[-1]
        if len(asked.evidence) == 1:
            assert asked.evidence[0] in whole
        else:
            subject, cell = (piece.partition(": ")[2] for piece in asked.evidence)
            assert any(subject in line and cell in line for line in whole.splitlines())


@pytest.mark.parametrize("seed", range(60))
def test_a_follow_up_is_searched_for_with_words_of_both_questions(seed: int) -> None:
    made = follow_up(Random(seed))
    mask = GrammarMask(grammar.first_round(made.fact.question, [made.before, made.answer]), VOCABULARY)
    written = VOCABULARY.encode(grammar.SEARCH) + VOCABULARY.encode(grammar.escaped(made.query))
    assert mask.paths([*written, *VOCABULARY.encode(grammar.CALL_END)]), made
    passage = made.fact.passage
    assert passage.text[made.fact.start : made.fact.end] and made.fact.start < made.fact.end
    assert not any(mark in text for text in (made.before, made.fact.question, made.query) for mark in "{}\0")
