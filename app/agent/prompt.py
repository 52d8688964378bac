"""Messages to ids, and hits to the text the core reads. The one renderer of server and training.

A turn is append-only: the prompt of each round begins with every id of the round before, so its KV is reused.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from app.agent.turn import TurnRefused
from app.cores.profile import Profile
from index.types import Hit

Message = Mapping[str, Any]
WORD = re.compile(r"\S+")
CONTROL = re.compile(r"<(?=\|)|<(?=/?(?:think|tool_call|tool_response|mark)>)")
HISTORY_WORDS = 60


class Renderer:
    """The core's own chat template, over its own tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, profile: Profile) -> None:
        self.tokenizer = tokenizer
        self.profile = profile
        # SmolLM3's own leaves calls out and shows results as if the user had said them.
        self._spelled_out = "tool_calls" not in str(tokenizer.chat_template)

    def start(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        documents: Sequence[Mapping[str, str]] = (),
    ) -> list[int]:
        """The ids of a conversation, up to where the core begins to write. `documents` as `sources` gives them."""
        return self._encode(self._text(self._fit(messages), tools, documents))

    def extend(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], so_far: Sequence[int]
    ) -> list[int]:
        """The ids of the longer conversation, beginning with `so_far` (prompt and generated ids).

        Templates that rewrite what they have rendered before give other ids, and cost a prefill.
        """
        text = self._text(self._fit(messages), tools)
        before = str(self.tokenizer.decode(list(so_far), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if not text.startswith(before):
            return self._encode(text)
        return [*so_far, *self._encode(text[len(before) :])]

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        documents: Sequence[Mapping[str, str]] = (),
    ) -> str:
        """Raises TurnRefused where the template takes no such conversation, as Llama's no two calls at once."""
        shown = [dict(tool) for tool in tools] or None
        variables: dict[str, Any] = {"tools": shown, self.profile.tools_argument: shown, **self.profile.template}
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                documents=[dict(document) for document in documents] or None,
                tokenize=False,
                add_generation_prompt=True,
                **variables,
            )
        except TemplateError as error:
            raise TurnRefused("messages", f"the core's chat template refuses them: {error}") from error
        return str(text)

    def _fit(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation as this core is shown it.

        A core that follows no instructions is not shown any, and of earlier turns only the last `history`, in short:
        its attention span is small, and what it said is in the memory anyway.
        """
        if not self.profile.trained_loop:
            return self._instructed(list(map(self._harmless, messages)))
        shown = [self._harmless(m) for m in messages if m["role"] != "system"]
        return [*self.past(messages), *shown[_current(shown) :]]

    def past(self, messages: Sequence[Message]) -> list[Message]:
        """What a core that learned the loop is shown of earlier turns."""
        said = messages[: _current(messages)]
        past = [m for m in said if m["role"] in ("user", "assistant") and m.get("content")]
        kept = past[max(len(past) - 2 * (self.profile.history or 0), 0) :] if self.profile.history else []
        return [{**m, "content": disarmed(brief(m["content"]))} for m in kept]

    def _instructed(self, messages: Sequence[Message]) -> list[Message]:
        """All instructions in one message at the beginning: other places are refused or left out by some templates."""
        given = [message["content"] for message in messages if message["role"] == "system"]
        text = "\n\n".join(filter(None, [self.profile.instructions, *given]))
        rest = [_spelled(m) if self._spelled_out else m for m in messages if m["role"] != "system"]
        return [{"role": "system", "content": text}, *rest] if text else rest

    def _harmless(self, message: Message) -> Message:
        """The message with others' words disarmed. Marks that `show` has set stay, and what the core itself wrote."""
        ours = message["role"] == "assistant" or (message["role"] == "tool" and self.profile.marks)
        return message if ours or not message.get("content") else {**message, "content": disarmed(message["content"])}


def _current(messages: Sequence[Message]) -> int:
    """Where the current turn begins."""
    return max((n for n, m in enumerate(messages) if m["role"] == "user"), default=0)


def _spelled(message: Message) -> Message:
    """Calls and results as the text that a Hermes template would write."""
    if message["role"] == "tool":
        return {**message, "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    called = [call["function"] for call in message.get("tool_calls") or ()]
    calls = [json.dumps({"name": f["name"], "arguments": f["arguments"]}, ensure_ascii=False) for f in called]
    parts = [message["content"], *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)]
    return {**message, "content": "\n".join(filter(None, parts))}


def disarmed(text: str) -> str:
    """The text with a word joiner in what would be read as a control token, so that no document plays the user."""
    return CONTROL.sub("<\u2060", text)


def brief(text: str) -> str:
    """The first paragraph, cut to a few dozen words: a reply without its quotes."""
    return " ".join(text.strip().split("\n\n")[0].split()[:HISTORY_WORDS])


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a hit's chunk as the core reads it: single spaces between words.

    `starts[i]` is the offset of character i of `text` in the chunk's text.
    """

    number: int
    hit: Hit
    text: str
    starts: tuple[int, ...]

    @property
    def marked(self) -> tuple[int, int]:
        """Where in `text` the reader's mark lies: twice 0 where it has set none, or elsewhere."""
        mark = self.hit.mark
        inside = [n for n, at in enumerate(self.starts) if mark and mark.start <= at < mark.end]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    def locate(self, start: int, end: int) -> tuple[int, int]:
        """Offsets in `text` to offsets in the parsed document."""
        begin = self.hit.chunk.start
        return begin + self.starts[start], begin + self.starts[end - 1] + 1


def excerpt(number: int, hit: Hit, words: int | None) -> Excerpt:
    """The words of the chunk around its mark, at most `words` of them (None: all)."""
    found = list(WORD.finditer(hit.chunk.text))
    if words is not None and len(found) > words:
        middle = (hit.mark.start + hit.mark.end) // 2 if hit.mark else 0
        centre = next((n for n, m in enumerate(found) if m.end() > middle), len(found) - 1)
        first = min(max(centre - words // 2, 0), len(found) - words)
        found = found[first : first + words]
    starts: list[int] = []
    for m in found:
        starts.extend(([starts[-1] + 1] if starts else []) + list(range(m.start(), m.end())))
    return Excerpt(number, hit, " ".join(m.group() for m in found), tuple(starts))


def show(hits: Sequence[Hit], profile: Profile, first: int = 1) -> tuple[str, list[Excerpt]]:
    """The tool result that the core reads, and the excerpts in it, numbered from `first`."""
    excerpts = _excerpts(hits, profile, first)
    if not excerpts:
        return "Nothing was found.", []
    if profile.marks:
        return "\n".join(map(_marked, excerpts)), excerpts
    return "\n\n".join(f"[{shown.number}] {_placed(shown)}" for shown in excerpts), excerpts


def sources(hits: Sequence[Hit], profile: Profile) -> tuple[list[dict[str, str]], list[Excerpt]]:
    """The documents for a chat template that takes some, and the excerpts in them, numbered as it numbers them."""
    excerpts = _excerpts(hits, profile, 1)
    return [{"text": _placed(shown)} for shown in excerpts], excerpts


def _excerpts(hits: Sequence[Hit], profile: Profile, first: int) -> list[Excerpt]:
    return [excerpt(n, hit, profile.excerpt_words) for n, hit in enumerate(hits[: profile.passages], first)]


def _placed(shown: Excerpt) -> str:
    """The whole passage after the place where it stands."""
    chunk = shown.hit.chunk
    place = " > ".join((chunk.filename, *chunk.headings)) + (f", p. {chunk.page}" if chunk.page else "")
    return disarmed(f"{place}\n{chunk.text}")


def _marked(shown: Excerpt) -> str:
    """The hit's score as one digit, and the reader's span between marks: hints that the core may overrule."""
    start, end = shown.marked
    if not end:
        return f"[{shown.number}] 0 {disarmed(shown.text)}"
    digit = min(int(shown.hit.score * 10), 9)
    pieces = shown.text[:start].rstrip(), shown.text[start:end].strip(), shown.text[end:]
    before, span, after = map(disarmed, pieces)
    return f"[{shown.number}] {digit}{' ' if before else ''}{before}<mark> {span}</mark>{after}"
