"""What a reader's lead over "no answer" means: a logistic fitted on what a search would hand it.

Half are SQuAD questions of the articles that the reader was not trained on, with the ten best passages by BM25 over
those articles, so that right and wrong ones come in the proportion in which a search brings them. Other paragraphs that
hold the answer's words are left out: nobody has judged them. Half are invented facts with their like.
`python -m app.bench reader` shows on unseen questions how true the probabilities are.
"""

import random
from collections.abc import Sequence

import numpy as np

from app.train.readings import Readings
from app.train.worlds import fact
from index.lexical import Lexical
from index.reader import Reader

PASSAGES = 10

Outcome = tuple[float, bool]  # lead, whether the passage answers


def outcomes(reader: Reader, readings: Readings, count: int) -> list[Outcome]:
    """Leads of the passages found for `count` questions of each half, drawn with seed 0."""
    rng = random.Random(0)
    paragraphs = readings.sources.paragraphs
    lexical = Lexical()
    lexical.add((p, p, paragraphs[p]) for p in sorted({q.paragraph for q in readings.held}))
    found: list[Outcome] = []
    for question in rng.sample(readings.held, min(count, len(readings.held))):
        answer = paragraphs[question.paragraph][question.start : question.end].lower()
        near = [
            p
            for p in lexical.search(question.question, PASSAGES)
            if p == question.paragraph or answer not in paragraphs[p].lower()
        ]
        spans = reader.spans(question.question, [paragraphs[p] for p in near])
        found += [(s.lead, p == question.paragraph) for p, s in zip(near, spans, strict=True) if s is not None]
    for _ in range(count):
        made = fact(rng)
        shown = [made.passage, *made.others]
        spans = reader.spans(made.question, [p.text for p in shown], [p.headings for p in shown])
        found += [(s.lead, p is made.passage) for p, s in zip(shown, spans, strict=True) if s is not None]
    return found


def logistic(readings: Sequence[Outcome], steps: int = 30) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic, by Newton's method."""
    leads, labels = np.array(readings, dtype=np.float64).T
    inputs = np.stack([leads, np.ones_like(leads)], axis=1)
    fitted = np.zeros(2)
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ fitted, -30, 30)))
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None]) + 1e-6 * np.eye(2)
        fitted += np.linalg.solve(curvature, inputs.T @ (labels - chance))
    return float(fitted[0]), float(fitted[1])
