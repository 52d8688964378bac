"""Text in a model's tokens: counted, and back again."""

from collections.abc import Sequence

from tokenizers import Tokenizer


class Tokens:
    """Of a tokenizer that this object has to itself: nothing is cut, nothing padded."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokens = tokenizer
        self._tokens.no_truncation()
        self._tokens.no_padding()

    def count_tokens(self, text: str) -> int:
        (encoded,) = self._tokens.encode_batch_fast([text], add_special_tokens=False)  # a fifth quicker than encode
        return len(encoded)

    def decode(self, ids: Sequence[int]) -> str | None:
        text = self._tokens.decode(list(ids), skip_special_tokens=False)
        return text if self._tokens.encode(text, add_special_tokens=False).ids == list(ids) else None
