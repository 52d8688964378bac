"""Training data of the layout that MANIFEST.md describes, small: two articles of SQuAD, and a few rows of the rest."""

import json
import lzma
from pathlib import Path
from typing import Any

RIVERS = [f"The river {name} is {n * 7} km long. It rises near {name}berg." for n, name in enumerate("ABCDEF", 3)]
LAKES = [f"The lake {name} is {n * 9} m deep. Its water is cold." for n, name in enumerate("GHIJKL", 3)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def asked(text: str, question: str, answer: str) -> dict[str, Any]:
    """A row's question."""
    return {"question": question, "answers": [{"text": answer, "answer_start": text.index(answer)}]}


def squad(folder: Path, articles: dict[str, list[tuple[str, list[dict[str, Any]]]]]) -> None:
    """Write SQuAD alone: paragraphs and their questions, by the title of their article."""
    rows = [
        {"title": title, "context": text, "qas": qas}
        for title, paragraphs in articles.items()
        for text, qas in paragraphs
    ]
    write(folder / "squad/train.jsonl.xz", rows)


def data(folder: Path) -> None:
    """Write all of it."""
    rivers = [(t, [asked(t, f"How long is the river {t[10]}?", t[15 : t.index(".")])]) for t in RIVERS]
    lakes = [(t, [asked(t, f"How deep is the lake {t[9]}?", t[14 : t.index(" deep")])]) for t in LAKES]
    squad(folder, {"Rivers": rivers, "Lakes": lakes})
    write(folder / "wiki/wiki-00.jsonl.xz", [{"title": "River", "text": " ".join(RIVERS)}])
    write(folder / "clinc150/train.jsonl.xz",
          [{"text": "hi there", "intent": "greeting", "domain": "small_talk"},
           {"text": "move my flight", "intent": "flight", "domain": "travel"}])  # fmt: skip
    write(folder / "gsm8k/train.jsonl.xz",
          [{"question": "Ann has 3 boxes of 4 pens and loses 2. How many are left?",
            "answer": "3*4=<<3*4=12>>12, 12-2=<<12-2=10>>10\n#### 10"},
           {"question": "Ann runs twice.", "answer": "<<1+1=2>><<2*2=4>><<4+4=8>>"}])  # fmt: skip
    (folder / "trec_factoid").mkdir()
    (folder / "trec_factoid/large2470-train.tsv").write_text("1\tx\tWho built the bridge in 1931?\tA.*\n")
