"""The body of POST /v1/completions: OpenAI's, and those fields of vLLM's by which token ids go in and come out."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from app.api.limits import Only
from app.api.sampling import Sampled


def _prompt(given: Any) -> Any:
    if isinstance(given, str) or (isinstance(given, list) and all(type(number) is int for number in given)):
        return given
    raise ValueError("'prompt' must be one text or one list of token ids; send several prompts as several requests.")


def _alone(given: Any) -> Any:
    if given is not None and given != 1.0:
        raise ValueError("'repetition_penalty' must be 1; send 'frequency_penalty' or 'presence_penalty'.")
    return given


class CompletionRequest(Sampled):
    prompt: Annotated[str | list[int], BeforeValidator(_prompt, json_schema_input_type=str | list[int])]
    max_tokens: int = Field(default=16, ge=0, description="0 with `echo` only.")
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20, description="How many of the likeliest tokens are told.")

    stop_token_ids: list[Annotated[int, Field(ge=0)]] = Field(
        default=[], description="Tokens that end the completion, beside the core's own ends."
    )
    cache_salt: str = Field(
        default="", description="Only requests of equal salt, and of the same client, share cached prompts."
    )
    add_special_tokens: bool = Field(default=True, description="Whether a prompt of text begins as the core's do.")
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = Field(default=False, description="Name tokens `token_id:N` in `logprobs`.")

    # Not offered: only what asks for nothing passes.
    n: Annotated[Any, Only(1, remedy="'n' must be 1; send the request again for another answer")] = None
    best_of: Annotated[Any, Only(1, remedy="'best_of' must be 1")] = None
    suffix: Annotated[Any, Only(remedy="'suffix' is not offered; leave it out")] = None
    repetition_penalty: Annotated[float | None, AfterValidator(_alone)] = None
