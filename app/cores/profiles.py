"""The profiles we ship, and which a checkpoint gets: by `cogcore_profile` in its config.json, else by its template.

How a family writes its calls was read in its chat template and in vLLM's parser for it. A checkpoint's own response
template (transformers' `parse_response`) goes before those here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.cores import occ
from app.cores.profile import TINY, Profile

_FIELD = {"content": "text", "content_args": {"strip": False}}
_JSON: Mapping[str, Any] = {
    "repeats": True,
    "content": "json",
    # Never an exception in the middle of a stream: what is no JSON comes out as text, and is told as such.
    "content_args": {"allow_non_json": True},
    "transform": {"type": "function", "function": "{content}"},
}


def _response(calls: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response template for this form of calls. A reply begins as in ChatML, Granite's prompts, or Llama 3's."""
    return {
        "defaults": {"role": "assistant"},
        "start_anchor": [
            "<|im_start|>assistant\n",
            "<|start_of_role|>assistant<|end_of_role|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ],
        "fields": {
            "reasoning_content": {"open": "<think>", "close": "</think>", **_FIELD},
            "tool_calls": calls,
            "content": _FIELD,
        },
    }


HERMES_RESPONSE = _response({"open": "<tool_call>", "close": "</tool_call>", **_JSON})
"""Hermes JSON as Qwen2.5, Qwen3, SmolLM3 and Granite 4 write it."""
XML_RESPONSE = _response(
    {
        # What names no function is a call as well, so that the core is told.
        "open_pattern": r"<tool_call>\s*(?:<function=(?P<name>[^>\n]*)>|(?P<name>)(?=[^\s<]|<(?!function=).{9}|\Z))",
        "close": "</tool_call>",
        "repeats": True,
        "content": "xml-inline",
        "content_args": {
            "tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?"
            r"(?:</parameter>|(?=<parameter=|</function>)|\Z)"
        },
        "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
    }
)
"""Qwen3.5 and Qwen3-Coder."""
BARE_RESPONSE = _response(
    {
        # A reply that begins as a call is one, and all of it. Other JSON is text.
        "open_pattern": r"\A\s*(?:<\|python_tag\|>|"
        r'(?=\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"[^"]*"\s*,\s*"(?:parameters|arguments)"))',
        **_JSON,
    }
)
"""Llama 3: JSON without a tag, or after <|python_tag|>."""

READING_RESPONSE: Mapping[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        # What it forgets to close its status ends.
        "reasoning_content": {"open": [*occ.THOUGHTS], "close": [*occ.THOUGHTS.values(), occ.STATUS], **_FIELD},
        "content": {"open": occ.ANSWER, "close": occ.ANSWER_END, **_FIELD},
    },
}
"""OCC-RAG: three thoughts, a status that is neither thought nor text, and an answer."""

INSTRUCTIONS = (
    "You answer from the user's own documents. Look up with search_memory whatever is not small talk or arithmetic; "
    "never answer facts from what you remember. Calculate with calculate. Answer in one or two short sentences, and "
    "after each claim cite the number of the passage that says it, like [1]. If no passage answers, say that you do "
    "not know."
)
HERMES = Profile(name="hermes", response_template=HERMES_RESPONSE, instructions=INSTRUCTIONS)
"""Qwen2.5, Granite 4, and whatever else is told of <tool_call>."""
QWEN3 = replace(
    HERMES,
    name="qwen3",
    # Thinking off: small reasoning models leave a third of their answers empty when it is on, and the need is plain.
    template={"enable_thinking": False},
    temperature=0.7,
    top_p=0.8,
    top_k=20,
)
QWEN3_THINKING = replace(
    QWEN3, name="qwen3-thinking", template={"enable_thinking": True}, decide_after="</think>\n\n", temperature=0.6,
    top_p=0.95,
)  # fmt: skip
QWEN35 = replace(
    QWEN3,
    name="qwen3.5",
    response_template=XML_RESPONSE,
    search_opening="<tool_call>\n<function=search_memory>\n<parameter=query>\n",
    arguments_follow=">\n",
)
QWEN35_THINKING = replace(
    QWEN35, name="qwen3.5-thinking", template={"enable_thinking": True}, decide_after="</think>\n\n", temperature=1.0,
    top_p=0.95,
)  # fmt: skip
SMOLLM3 = replace(
    HERMES,
    name="smollm3",
    template={"enable_thinking": False},
    tools_argument="xml_tools",
    temperature=0.6,
    top_p=0.95,
)
SMOLLM3_THINKING = replace(
    SMOLLM3,
    name="smollm3-thinking",
    template={"enable_thinking": True},
    # How many line ends follow its thoughts is left open, so the one before a call belongs to the opening.
    decide_after="</think>",
    search_opening="\n" + HERMES.search_opening,
)
LLAMA3 = replace(
    HERMES,
    name="llama3",
    response_template=BARE_RESPONSE,
    search_opening='{"name": "search_memory", "parameters": {"query": "',
    arguments_follow='", "parameters":',
    # Among the user's words its template would ask for a call, whatever was said.
    template={"tools_in_user_message": False},
    temperature=0.6,
    top_p=0.9,
)
OCC_RAG = Profile(
    name="occ-rag",
    reads=True,
    response_template=READING_RESPONSE,
    template={"enable_thinking": False},
    max_tokens=2048,  # its analyses come before its answer
)
"""OCC-RAG-0.6B and 1.7B. Known by their card and public examples only: no weights were at hand to test with."""
PROFILES: Mapping[str, Profile] = {
    p.name: p
    for p in (
        replace(TINY, response_template=HERMES_RESPONSE),
        HERMES,
        QWEN3,
        QWEN3_THINKING,
        QWEN35,
        QWEN35_THINKING,
        SMOLLM3,
        SMOLLM3_THINKING,
        LLAMA3,
        OCC_RAG,
    )
}


def profile_for(config: Mapping[str, Any], chat_template: str) -> Profile | None:
    """The profile of a checkpoint, or None when its template speaks no protocol we know."""
    if named := config.get("cogcore_profile"):
        return PROFILES.get(named)
    if "<|query_start|>" in chat_template:
        return OCC_RAG if occ.BEGUN in chat_template else None
    family = config.get("model_type")
    if "<tool_call>" not in chat_template:
        return LLAMA3 if family == "llama" and '"parameters"' in chat_template else None
    if "<function=" in chat_template:
        return QWEN35
    if family == "smollm3":
        return SMOLLM3
    return QWEN3 if family == "qwen3" and "enable_thinking" in chat_template else HERMES
