"""`cogcore eval` with the server that it starts itself: the real one, only its core is untrained and so knows nothing.

What is measured of such a core is noise; that everything is asked, found, cited and counted is not.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from app.cores.load import TINY_FOLDER
from app.eval.__main__ import main
from app.sample import DOCUMENTS


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A core with the embedded core's tokenizer and protocol, and random weights."""
    folder = tmp_path / "core"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY_FOLDER / name, folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    told = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**told, "cogcore_profile": "tiny"}), "utf-8")
    return folder


def test_the_whole_server_is_asked(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"core": untrained, "data_dir": tmp_path / "data", "reader": "none", "sample": "false", "threads": 1}
    # Always search, always answer: an untrained core would otherwise do either by chance.
    for name, value in {**given, "need_threshold": 0, "abstain_below": 0, "device": "cpu"}.items():
        monkeypatch.setenv(f"COGCORE_{name.upper()}", str(value))
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in ("leave-and-travel.md", "price-list.docx"):
        shutil.copy(DOCUMENTS / name, documents)
    monkeypatch.setattr("app.eval.store.POLL", 0.1)
    out = tmp_path / "out.json"
    argv = ["sample", "--documents", str(documents), "--store", "two", "--limit", "6", "--concurrency", "4"]
    assert main([*argv, "--json", str(out)]) == 0
    told = json.loads(out.read_text("utf-8"))
    assert told["summary"]["failed"] == 0 and told["summary"]["under_search"] == 0.0
    assert len(told["questions"]) == 6
    for row in told["questions"]:
        reply = row["reply"]
        assert reply["searches"] == 1 and 0 <= reply["confidence"] <= 1 and len(reply["prefilled"]) >= 2
        assert {hit["filename"] for hit in reply["found"]} <= {"leave-and-travel.md", "price-list.docx"}
        assert reply["found"] and all(hit["text"] for hit in reply["found"])
