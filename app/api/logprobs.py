"""Tokens as OpenAI's `logprobs` tell them.

Only of the text that the core itself wrote, spaces at its ends left out: what the server says (quotes under an answer,
words put into the core's mouth) has no entry. A log-probability is under the core's own distribution: where a mask left
no choice, it may be low.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from app.agent.mask import MaskError, vocabulary_of
from app.engine.types import Token

LEAST = -9999.0
"""OpenAI's word for hardly possible; JSON has no infinity."""


class Spelling:
    """The texts and bytes of a tokenizer's tokens. Made at the first use, in up to a second, and kept.

    Where tokens are no byte-level BPE, half a character has no bytes, and a space before a word is not told.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        try:
            self._bytes = vocabulary_of(tokenizer).bytes
        except MaskError:
            self._bytes = {}

    def __call__(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        return [
            {**self._one(token.id, token.logprob), "top_logprobs": [self._one(*likely) for likely in token.top]}
            for token in tokens
        ]

    def _one(self, number: int, logprob: float) -> dict[str, Any]:
        spelled = self._bytes.get(number)
        text = str(self._tokenizer.decode([number])) if spelled is None else spelled.decode(errors="replace")
        if spelled is None and "\N{REPLACEMENT CHARACTER}" not in text:
            spelled = text.encode()
        return {"token": text, "logprob": max(logprob, LEAST), "bytes": None if spelled is None else list(spelled)}
