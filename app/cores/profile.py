"""How a core is prompted, decided, sampled and constrained. Another core is only another profile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.cores.grammar import SEARCH


@dataclass(frozen=True, slots=True)
class Sureness:
    """What counts in the confidence in an answer: a logistic over log-odds (app.agent.confidence).

    `core` is the core's word that this passage answers, `score` the hit's, `rival` the reader's probability of other
    words in another passage. `cogcore train judge` fits it on held-out searches.
    """

    core: float
    score: float
    rival: float
    bias: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What the turn must know of a core beyond its checkpoint.

    `search_opening` is the text with which the core opens a search call at its first decision point, up to where the
    query begins: the probability of that text is the turn's `need`, and forcing it is how a search is required.
    `arguments_follow` is what the core writes between a tool's name and its arguments.
    `decide_after` is the text after which the decision point comes ("</think>\n\n" for a core that thinks first).
    `tools_argument` is the name under which its chat template takes the tools, beside the usual one.
    Sampling is the profile's where the checkpoint's own generation_config.json does not say how to sample.
    `trained_loop` cores learned the loop and its grammar (app.cores.grammar): no instructions or tool schemas are
    rendered for the hosted tools and decoding is masked; the others get `instructions` and the schemas in their prompt.
    Such a core may search `hops` times in a turn, each time from a passage of the search before, with words of earlier
    messages (`follow_ups`), put its first query in other words where that found nothing (`rephrases`), calculate with
    the numbers of a passage (`reckons`), and tell what another passage says instead (`differs`), if it has learned to.
    `sureness` weighs its numbers where the memory's reader has read the passage; else they are multiplied.
    `reads` cores answer from sources that are looked up for them (app.cores.occ), and neither decide nor call anything.
    `max_tokens` are what a core may write where the request does not say.
    """

    name: str
    trained_loop: bool = False
    reads: bool = False
    search_opening: str = '<tool_call>\n{"name": "search_memory", "arguments": {"query": "'
    arguments_follow: str = '", "arguments":'
    decide_after: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)
    tools_argument: str = "tools"
    response_template: Mapping[str, Any] | None = None
    instructions: str = ""
    passages: int = 5
    excerpt_words: int | None = None
    marks: bool = False
    history: int | None = None
    hops: int = 1
    follow_ups: bool = False
    rephrases: bool = False
    reckons: bool = False
    differs: bool = False
    sureness: Sureness | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 512

    @property
    def judges(self) -> bool:
        """Whether it says of passages how probably they answer: only then its confidence can be calibrated."""
        return self.trained_loop or self.reads


TINY = Profile(
    name="tiny",
    trained_loop=True,
    search_opening=SEARCH,
    passages=4,
    excerpt_words=36,
    marks=True,
    history=2,
    hops=2,
    follow_ups=True,
    reckons=True,
    sureness=Sureness(core=0.321, score=0.687, rival=-0.201, bias=-0.595),
)
"""The embedded core: it learned the loop, reads four marked excerpts, and follows no instructions."""
