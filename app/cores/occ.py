"""What OCC-RAG writes (Savkin et al. 2026, arXiv 2606.00683): its control tokens, and the words between them.

Three thoughts, a status, an answer. Read in its model card and in what others quote of its replies; no weights were at
hand. Its chat template takes the sources as `documents`, numbers them from 1, and begins the first thought.
"""

import re
from collections.abc import Mapping

BEGUN = "<|query_analysis_start|>"
REASONING, REASONED = "<|reasoning_start|>", "<|reasoning_end|>"
THOUGHTS: Mapping[str, str] = {
    BEGUN: "<|query_analysis_end|>",
    "<|source_analysis_start|>": "<|source_analysis_end|>",
    REASONING: REASONED,
}
STATUS, STATUS_END = "<|status_start|>", "<|status_end|>"
ANSWER, ANSWER_END = "<|answer_start|>", "<|answer_end|>"
SOURCE = "<|source_id|>"
TOKENS = frozenset({*THOUGHTS, *THOUGHTS.values(), STATUS, STATUS_END, ANSWER, ANSWER_END, SOURCE})

# After the status token.
ANSWERABLE = f"\nANSWERABLE{STATUS_END}"
UNANSWERABLE = f"\nUNANSWERABLE{STATUS_END}"
ANSWERING = f"{ANSWERABLE}\n{ANSWER}\n"
REFUSAL = "not enough information"

_REASONING = re.compile(rf"{re.escape(REASONING)}(.*?)(?:{re.escape(REASONED)}|\Z)", re.DOTALL)
_CITED = re.compile(rf"{re.escape(SOURCE)}\s*(\d+)")


def cited(reply: str) -> set[int]:
    """The numbers of the sources that its reasoning cites. The analysis before it goes through all of them."""
    return {int(number) for reasoning in _REASONING.findall(reply) for number in _CITED.findall(reasoning)}
