"""The profiles we ship, and which a checkpoint gets: by `cogcore_profile` in its config.json, else by its family."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.cores.profile import TINY, Profile

_FIELD = {"content": "text", "content_args": {"strip": False}}
HERMES_RESPONSE: Mapping[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", **_FIELD},
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            # Never an exception in the middle of a stream: what is no JSON comes out as text, and is told as such.
            "content_args": {"allow_non_json": True},
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": _FIELD,
    },
}
"""Hermes JSON as Qwen2.5, Qwen3 and SmolLM3 write it, for tokenizers that ship no response template."""

INSTRUCTIONS = (
    "You answer from the user's own documents. Look up with search_memory whatever is not small talk or arithmetic; "
    "never answer facts from what you remember. Calculate with calculate. Answer in one or two short sentences, and "
    "after each claim cite the number of the passage that says it, like [1]. If no passage answers, say that you do "
    "not know."
)
HERMES = Profile(name="hermes", response_template=HERMES_RESPONSE, instructions=INSTRUCTIONS)
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
PROFILES: Mapping[str, Profile] = {
    p.name: p for p in (replace(TINY, response_template=HERMES_RESPONSE), HERMES, QWEN3, QWEN3_THINKING)
}


def profile_for(config: Mapping[str, Any], chat_template: str) -> Profile | None:
    """The profile of a checkpoint, or None when its template speaks no protocol we know."""
    if named := config.get("cogcore_profile"):
        return PROFILES.get(named)
    if "<tool_call>" not in chat_template:
        return None
    return QWEN3 if config.get("model_type") == "qwen3" and "enable_thinking" in chat_template else HERMES
