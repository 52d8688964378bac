"""What a turn is asked: the conversation, where it may look things up, and the contract it must keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.calibration import Calibration
from app.engine.types import ANYBODY, Sampling, Whose
from index.rank import DENSE_WEIGHT

Message = Mapping[str, Any]
Choice = Literal["auto", "required", "none"]


class TurnRefused(ValueError):
    """This core cannot do what is asked; `field` names what asked for it, the message the remedy."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Policy:
    """How a turn may look things up.

    `auto`: the core decides, by its need against `need_threshold`. `required`: it must search (with no store: call some
    tool). `none`: no tool is called. `function` names the one tool that must be called: a client's, or a hosted one.
    Unless `parallel`, the client gets one call at most. Of each search the best `hits` count, as the memory ranks them:
    with its reader if `rerank`, without those below `score_threshold`, by meaning with `dense_weight` of all weight.
    Below `abstain_below` confidence a core that judges passages says that it does not know.
    """

    choice: Choice = "auto"
    function: str | None = None
    parallel: bool = True
    max_searches: int = 2
    max_rounds: int = 4
    hits: int = 5
    filters: Mapping[str, Any] | None = None
    rerank: bool = True
    score_threshold: float = 0.0
    dense_weight: float = DENSE_WEIGHT
    need_threshold: float = 0.4
    abstain_below: float = 0.3


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message to be answered.

    `messages` are OpenAI's, as plain dicts with text contents, ending with a user or tool message; `tools` the client's
    functions in OpenAI's form; `stores` ids (none: nothing can be looked up). `sampling.max_tokens` counts everything
    the core writes in the turn, thoughts and calls included; its mask, stop ids and logit bias for calls are the
    turn's own. `stop` ends the visible reply, which is JSON after `reply_schema` where there is one. `calibrations` are
    those of the stores, all of them or none. `versions` are those that the stores had when the turn was asked.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    stores: Sequence[str] = ()
    policy: Policy = field(default_factory=Policy)
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[str] = ()
    reply_schema: Mapping[str, Any] | None = None
    whose: Whose = ANYBODY
    calibrations: Sequence[Calibration] = ()
    versions: Mapping[str, int] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((str(m["content"]) for m in reversed(self.messages) if m["role"] == "user"), "")

    def calibrated(self, confidence: float) -> float:
        """The confidence in an answer from the stores: by the most cautious of their calibrations, if they have any."""
        return min((fitted(confidence) for fitted in self.calibrations), default=confidence)


def refuse_forms(turn: Turn, core: str) -> None:
    """Raise TurnRefused where a core that writes answers and nothing else is asked for calls or JSON."""
    if turn.tools:
        raise TurnRefused(
            "tools", f"the core {core!r} cannot call your functions: leave out 'tools' or serve another core"
        )
    if turn.reply_schema is not None:
        raise TurnRefused(
            "response_format", f"the core {core!r} writes no JSON: leave out 'response_format' or serve another core"
        )
