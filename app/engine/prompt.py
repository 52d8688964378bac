"""What every engine refuses of the ids it is given, before any work is done for them."""

from collections.abc import Sequence

from app.engine.types import InvalidPrompt, PromptTooLong


def known_ids(name: str, given: Sequence[int], vocab_size: int) -> list[int]:
    """The ids as a list. Raises InvalidPrompt, naming what they are, when there are none or one is no token."""
    ids = list(given)
    if not ids:
        raise InvalidPrompt(f"the {name} has no tokens")
    low, high = min(ids), max(ids)
    if low < 0 or high >= vocab_size:
        raise InvalidPrompt(f"the {name} has the id {low if low < 0 else high}, outside 0 … {vocab_size - 1}")
    return ids


def prompt_ids(given: Sequence[int], vocab_size: int, context_length: int) -> list[int]:
    """The ids of a prompt that leaves room for at least one token. Raises InvalidPrompt and PromptTooLong."""
    ids = known_ids("prompt", given, vocab_size)
    if len(ids) >= context_length:
        raise PromptTooLong(len(ids), context_length)
    return ids
