"""Nothing lost, nothing doubled, nothing too long, and cut where a reader would pause."""

import itertools
import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.chunk import CountTokens, Passage, sentence_spans, split
from index.parse import Limits, Parsed
from index.parse.document import BlockKind, Rendering
from index.parse.formats import read


def words(text: str) -> int:
    return len(text.split())


def pieces(text: str) -> int:
    """As WordPiece counts: one for four letters of a word."""
    return sum(1 + len(word) // 5 for word in text.split())


def octets(text: str) -> int:
    """A count that is more for a whole than for its parts, since the space between them counts too."""
    return len(text.encode())


def markdown(source: str) -> Parsed:
    return read(".md", source.encode(), Limits())


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


WORD = st.text(alphabet="abcdeÄж日🙂.!?", min_size=1, max_size=12)
BODY = st.lists(WORD | st.sampled_from([". Then", "\n", "\n\n", "x" * 70]), min_size=1, max_size=60).map(" ".join)
KINDS: st.SearchStrategy[BlockKind] = st.sampled_from(get_args(BlockKind))


@st.composite
def documents(draw: st.DrawFn) -> Parsed:
    out = Rendering(10**6)
    for kind in draw(st.lists(KINDS, max_size=12)):
        out.add(kind, draw(BODY), level=draw(st.integers(1, 4)), page=draw(st.integers(1, 3)))
    return out.done(3)


COUNTERS = st.sampled_from([words, pieces, octets])


def covered(parsed: Parsed, passages: list[Passage]) -> list[int]:
    counts = [0] * len(parsed.text)
    for passage in passages:
        for at in range(passage.start, passage.end):
            counts[at] += 1
    return counts


@settings(max_examples=200, deadline=None)
@given(documents(), COUNTERS, st.integers(4, 120))
def test_each_character_of_the_body_is_in_exactly_one_passage(parsed: Parsed, count: CountTokens, most: int) -> None:
    passages = split(parsed, count, most)
    counts = covered(parsed, passages)
    for block in parsed.blocks:
        for at in range(block.start, block.end):
            if not parsed.text[at].isspace():
                assert counts[at] == (block.kind != "margin") or (block.kind == "heading" and counts[at] == 0)
    for before, after in itertools.pairwise(passages):
        assert before.end <= after.start
    named = {name for passage in passages for name in passage.headings}
    for block in parsed.blocks:  # a heading's words are found either in a passage or on its path
        if block.kind == "heading" and not counts[block.start]:
            assert parsed.text[block.start : block.end] in named


@settings(max_examples=200, deadline=None)
@given(documents(), COUNTERS, st.integers(4, 120), st.data())
def test_offsets_are_exact_and_the_limit_holds(
    parsed: Parsed, count: CountTokens, most: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, most // 2))
    passages = split(parsed, count, most, overlap)
    counts = covered(parsed, passages)
    for passage in passages:
        assert passage.text == parsed.text[passage.start : passage.end]
        assert passage.text == passage.text.strip() != ""
        assert count(passage.text) <= most
        assert passage.page in (1, 2, 3)
    for block in parsed.blocks:
        if block.kind not in ("heading", "margin"):
            assert all(counts[at] for at in range(block.start, block.end) if not parsed.text[at].isspace())
    assert [p.start for p in passages] == sorted({p.start for p in passages})
    assert [p.end for p in passages] == sorted({p.end for p in passages})


def test_overlap_repeats_whole_sentences_of_the_same_section() -> None:
    body = " ".join(f"Sentence number {n} is here." for n in range(12))
    parsed = markdown(f"# A\n\n{body}\n\n# B\n\n{body}")
    passages = split(parsed, words, 20, overlap=5)
    for before, after in itertools.pairwise(passages):
        shared = parsed.text[after.start : before.end]
        if before.headings == after.headings:
            assert words(shared) == 5
            assert shared.startswith("Sentence")
        else:
            assert shared == ""


def test_sections_keep_apart_and_know_their_headings() -> None:
    text = "This section has quite a few words of its own, enough to stand alone. " * 2
    parsed = markdown(f"# Title\n\n{text}\n\n## One\n\n{text}\n\n### Deep\n\n{text}\n\n## Two\n\n{text}")
    assert [p.headings for p in split(parsed, words, 100)] == [
        ("Title",),
        ("Title", "One"),
        ("Title", "One", "Deep"),
        ("Title", "Two"),
    ]


def test_tiny_neighbours_share_a_passage_with_their_headings() -> None:
    parsed = markdown("# Rooms\n\n## North\n\nTwo beds.\n\n## South\n\nOne bed.\n\n# Other\n\nNothing.")
    first, second = split(parsed, words, 100)
    assert first.text == "North\n\nTwo beds.\n\nSouth\n\nOne bed."
    assert first.headings == ("Rooms",)
    assert (second.text, second.headings) == ("Nothing.", ("Other",))


def test_a_heading_with_nothing_under_it_is_found() -> None:
    parsed = markdown("# Guide\n\n## Closed on Sundays\n\n## Hours\n\n" + "Open from nine to five. " * 20)
    assert any("Closed on Sundays" in passage.text for passage in split(parsed, words, 40))


def test_a_paragraph_above_a_rule_is_on_no_path() -> None:
    parsed = markdown("# Minutes\n\n" + "Nobody meant this as a heading. " * 9 + "\n---\n\nSix weeks.\n\n# End\n\nBye.")
    assert [block.kind for block in parsed.blocks[:3]] == ["heading", "paragraph", "paragraph"]
    assert {passage.headings for passage in split(parsed, words, 50)} == {("Minutes",), ("End",)}


def test_a_title_stands_over_sections_of_its_own_level() -> None:
    parsed = markdown("# Handbook\n\n# Prices\n\nFree.\n\n# Hours\n\nNine.")
    assert {passage.headings[0] for passage in split(parsed, words, 16)} == {"Handbook"}


def test_each_table_row_stands_alone_and_code_is_cut_between_lines() -> None:
    rows = "\n".join(f"| Plan {n} | {n} EUR. And more |" for n in range(30))
    parsed = markdown(f"| Name | Price |\n|---|---|\n{rows}")
    assert [passage.text for passage in split(parsed, words, 30)] == parsed.text.split("\n")
    assert parsed.text.startswith("Name: Plan 0; Price: 0 EUR.")
    code = "\n".join(f"call({n}). And(more)" for n in range(40))
    for passage in split(markdown(f"```\n{code}\n```"), words, 15):
        assert all(line.startswith("call(") for line in passage.text.split("\n"))


def test_a_block_that_fits_is_not_torn_when_the_passage_is_half_full() -> None:
    parsed = markdown("A b c d e f. G h i j k l.\n\nM n o p. Q r s t. U v w x.")
    assert [passage.text for passage in split(parsed, words, 16)] == [
        "A b c d e f. G h i j k l.",
        "M n o p. Q r s t. U v w x.",
    ]


def test_pages_are_those_where_passages_begin() -> None:
    out = Rendering(1000)
    out.add("paragraph", "One two three four.", page=4)
    out.add("paragraph", "Five six seven eight.", page=5)
    assert [passage.page for passage in split(out.done(5), words, 4)] == [4, 5]


def test_one_endless_word_is_cut_and_bounded() -> None:
    parsed = markdown("a" * 5000)
    passages = split(parsed, lambda text: 1, 10)  # a tokenizer that takes any word for one unknown token
    assert "".join(passage.text for passage in passages) == "a" * 5000
    assert max(len(passage.text) for passage in passages) <= 132


@pytest.mark.parametrize(("most", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_sizes_that_make_no_sense(most: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        split(markdown("x"), words, most, overlap)


def test_nothing_gives_nothing() -> None:
    assert split(Parsed("", ()), words) == []
    assert sentence_spans(" \n ") == []


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith met J. R. R. Tolkien, e.g. Foo vs. Bar, at 3.5 km.|He left in 1990.|The U.S. Army came!",
        '"Really?" she asked.|He nodded. |(It was so.) |Then it ended.',
        "1. First do this.|Then that.",
        "There were 42 rooms on floor 12.|The rest were closed.",
        "Version 2.0.1 of index.html is out...|Is it? |Yes!",
        "これは文です。|次の文です。",
        "See Fig. 3 and No. 7 on p. 12 for it.|Mr. Jones agrees.",
        "It works with iOS, Node.js etc. and needs nothing.|So be it.",
    ],
)
def test_sentences(text: str) -> None:
    expected = [part.strip() for part in text.split("|")]
    assert sentences(text.replace("|", "" if "。" in text else " ").replace("  ", " ")) == expected


def test_each_row_is_a_sentence() -> None:
    rows = "Plan: Pro; Price: 49 EUR. Or more.\nPlan: Free; Price: none"
    assert sentences(rows)[-1] == "Plan: Free; Price: none"
    assert all("\n" not in sentence for sentence in sentences(rows))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abA1 .!?\n\"')。…", max_size=200) | st.text(max_size=100))
def test_sentences_cover_all_but_space(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in spans)


@pytest.mark.parametrize("unit", [".", " ", '."', ". ", "! ?", "A. ", '"', "…\u3002"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """This runs in the server's own process, so no text may make it quadratic."""

    def seconds(size: int) -> float:
        began = time.process_time()
        sentence_spans(unit * size)
        return time.process_time() - began

    assert seconds(160_000) < 20 * seconds(16_000) + 0.5
