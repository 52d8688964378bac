"""JSON under a mask: whatever a core would write, what it may write follows the schema."""

import json
import re
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from app.agent.forms import OPEN_OBJECT, TAGS
from app.agent.schema import Calls, SchemaMask, SchemaRefused, Thought, compiled

SCALARS = st.one_of(
    st.builds(lambda low: {"type": "integer", "minimum": low, "maximum": low + 99}, st.integers(-50, 50)),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 6)),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda words: {"enum": words}, st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True)),
)
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)


def _nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3))
    objects = st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(
        lambda fields: {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
    )
    return lists | objects | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)


SCHEMAS = st.recursive(SCALARS, _nested, max_leaves=5)


def written(tokenizer: PreTrainedTokenizerBase, mask: SchemaMask, seed: int, most: int = 400) -> str:
    """What a core without any sense writes under the mask."""
    rng, ids = Random(seed), list[int]()
    while len(ids) < most:
        allowed = mask(ids)
        assert len(allowed) and (allowed[1:] > allowed[:-1]).all()
        ids.append(int(rng.choice(allowed)))
        if ids[-1] == tokenizer.eos_token_id:
            return str(tokenizer.decode(ids[:-1]))
    raise AssertionError("it never ends")


@settings(deadline=None, max_examples=40)
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_what_is_written_follows_the_schema(tokenizer: PreTrainedTokenizerBase, schema: Any, seed: int) -> None:
    text = written(tokenizer, SchemaMask(compiled(tokenizer, schema), len(tokenizer)), seed)
    jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("seed", range(10))
def test_a_call_names_a_tool_and_has_its_arguments(tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
    sizes = {"type": "object", "properties": {"size": {"enum": ["s", "m"]}}, "required": ["size"]}
    tools: dict[str, Any] = {"order": {**sizes, "additionalProperties": False}, "count": {"enum": [{"of": 2}]}}
    opening, closing = (tokenizer.get_added_vocab()[tag] for tag in TAGS)
    grammar = compiled(tokenizer, {"enum": ["no"]}, Calls(tools, OPEN_OBJECT, '", "arguments":', TAGS))
    free = SchemaMask(grammar, len(tokenizer))([]).tolist()
    assert opening in free and closing not in free
    begun = '<tool_call>\n{"name": "order", "arguments": '
    mask = SchemaMask(grammar, len(tokenizer), tokenizer.encode(begun, add_special_tokens=False))
    calls = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", begun + written(tokenizer, mask, seed))
    first, *others = map(json.loads, calls)
    known = [{"name": "order", "arguments": {"size": size}} for size in ("s", "m")]
    assert first in known
    assert all(call in [*known, {"name": "count", "arguments": {"of": 2}}] for call in others)


@pytest.mark.parametrize("begun", ["<think>\nIt is", ""])
def test_a_thought_is_free_and_the_reply_after_it_is_not(tokenizer: PreTrainedTokenizerBase, begun: str) -> None:
    opening, closing = (tokenizer.get_added_vocab()[tag] for tag in ("<think>", "</think>"))
    grammar = compiled(tokenizer, {"enum": ["no"]}, thought=Thought(opening, closing, "\n\n"))
    ids = tokenizer.encode(f"{begun} so {{ or not.</think>\n\n", add_special_tokens=False)
    assert written(tokenizer, SchemaMask(grammar, len(tokenizer), ids), 0) == '"no"'
    assert tokenizer.eos_token_id not in SchemaMask(grammar, len(tokenizer), ids[:-3])([]).tolist()


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "strung"}, "strung"),
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"type": "string", "pattern": "("}, "pattern"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(tokenizer: PreTrainedTokenizerBase, schema: Any, named: str) -> None:
    with pytest.raises(SchemaRefused) as refused:
        compiled(tokenizer, schema)
    assert named in str(refused.value) or "regex" in str(refused.value)
    assert "\n" not in str(refused.value)
