"""What a reader's lead over "no answer" means: a logistic fitted on what a search would hand it.

SQuAD train questions; passages are the ten best by BM25 over all of its paragraphs, so right and wrong ones come in the
proportion in which a search brings them. Other paragraphs that hold the answer's words are left out: nobody has judged
them. The reader was trained on these questions, each seen at most once: `python -m app.bench reader` shows on unseen
ones how true the probabilities are.
"""

import random
from collections.abc import Sequence

import numpy as np

from app.train.sources import Sources
from index.lexical import Lexical
from index.reader import Reader

PASSAGES = 10

Reading = tuple[float, bool]  # lead, whether the passage answers


def read_results(reader: Reader, sources: Sources, count: int) -> list[Reading]:
    """Leads of the passages found for some questions drawn with seed 0."""
    questions = random.Random(0).sample(sources.squad(), count)
    lexical = Lexical()
    lexical.add((i, i, text) for i, text in enumerate(sources.paragraphs))
    readings = []
    for question in questions:
        answer = sources.paragraphs[question.paragraph][question.start : question.end].lower()
        found = [
            i
            for i in lexical.search(question.question, PASSAGES)
            if i == question.paragraph or answer not in sources.paragraphs[i].lower()
        ]
        spans = reader.spans(question.question, [sources.paragraphs[i] for i in found])
        readings += [(s.lead, i == question.paragraph) for i, s in zip(found, spans, strict=True) if s is not None]
    return readings


def logistic(readings: Sequence[Reading], steps: int = 30) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic, by Newton's method."""
    leads, labels = np.array(readings, dtype=np.float64).T
    inputs = np.stack([leads, np.ones_like(leads)], axis=1)
    fitted = np.zeros(2)
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ fitted, -30, 30)))
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None]) + 1e-6 * np.eye(2)
        fitted += np.linalg.solve(curvature, inputs.T @ (labels - chance))
    return float(fitted[0]), float(fitted[1])
