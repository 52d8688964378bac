"""Small talk: each thing said belongs to one group, and each group has a few short replies."""

from random import Random

from app.train.smalltalk import BANK, reply, small_talk, typed


def test_groups_do_not_overlap() -> None:
    said = [text for group in BANK.values() for text in group["said"]]
    assert len(set(said)) == len(said) > 800
    for group in BANK.values():
        assert 3 <= len(group["replies"]) <= 8
        assert all(len(text.split()) <= 20 for text in group["replies"])


def test_drawn() -> None:
    rng = Random(7)
    pairs = small_talk([("hiya pal", "greeting", "small_talk"), ("weather?", "weather", "utility")])
    assert ("hiya pal", "greeting") in pairs and all(intent in BANK for _, intent in pairs)
    drawn = [(typed(rng, text), reply(rng, intent)) for text, intent in pairs]
    assert all(text.strip() and text.isprintable() and answer for text, answer in drawn)
