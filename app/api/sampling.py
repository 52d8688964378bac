"""How a request is sampled and sent: the fields that chats and plain completions share."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.api.errors import ApiError
from app.api.limits import Only, Strict
from app.cores.load import Core
from app.engine.types import Sampling


def _stops(given: Any) -> Any:
    stops = [given] if isinstance(given, str) else given
    if isinstance(stops, list) and (len(stops) > 4 or not all(isinstance(s, str) and s for s in stops)):
        raise ValueError("'stop' takes at most 4 texts, none of them empty.")
    return stops


def _is_bias(token: str, value: Any) -> bool:
    return re.fullmatch("[0-9]{1,9}", token) is not None and type(value) in (int, float) and -100 <= value <= 100


def _biases(given: Any) -> Any:
    if given is None:
        return None
    if not isinstance(given, dict) or not all(_is_bias(token, value) for token, value in given.items()):
        raise ValueError("'logit_bias' maps token ids to numbers from -100 to 100.")
    return {token: float(value) for token, value in given.items()}


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, Only(False, remedy="Obfuscation is not offered")] = None


class Sampled(Strict):
    """A request for tokens."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, description="0 and -1: off.")
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Annotated[
        list[str] | None,
        BeforeValidator(_stops, json_schema_input_type=str | Annotated[list[str], Field(max_length=4)] | None),
    ] = None
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: Annotated[
        dict[str, float] | None, BeforeValidator(_biases, json_schema_input_type=dict[str, float] | None)
    ] = None
    user: str | None = None  # without effect

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, max_tokens: int, core: Core) -> Sampling:
        """As asked, and as the core's profile says where nothing is asked. Raises ApiError."""
        profile, size = core.profile, core.engine.vocab_size
        if unknown := [token for token in self.logit_bias or {} if int(token) >= size]:
            said = f"'logit_bias' names the token {unknown[0]}; those of {core.name!r} are below {size}."
            raise ApiError(said, param="logit_bias")
        return Sampling(
            max_tokens=max_tokens,
            temperature=profile.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p or profile.top_p,
            top_k=profile.top_k if self.top_k is None else max(self.top_k, 0),
            min_p=self.min_p or 0.0,
            seed=self.seed,
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
        )
