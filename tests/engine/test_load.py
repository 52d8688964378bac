"""What is read from a folder, and that everything unfit is refused by name, with a remedy, before anything runs."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from app.engine import load
from app.engine.config import from_mapping, read_config
from app.engine.device import NotEnoughMemory, free_memory, free_on_host
from app.engine.load import SHARE, load_engine, resolve
from app.engine.local import LocalEngine
from app.engine.types import Sampling, UnsupportedModel
from tests.engine import checkpoints
from tests.engine.client import collect, greedy, numbers
from tests.engine.conftest import Checkpoint

Start = Callable[..., LocalEngine]


def edit(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.fixture
def folder(checkpoint: Callable[[str], Checkpoint], tmp_path: Path) -> Path:
    return Path(copytree(checkpoint("qwen3")[0], tmp_path / "copy"))


@pytest.mark.parametrize("family", ["qwen2-tied", "qwen3", "smollm3", "mistral", "granite-tied-biased"])
def test_shards(family: str, checkpoint: Callable[[str], Checkpoint], tmp_path: Path, start: Start) -> None:
    checkpoints.write(family, tmp_path, shards="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    shards, single = start(tmp_path), start(checkpoint(family)[0])
    want = asyncio.run(single.score([1, 2], [3, 4]))
    assert asyncio.run(shards.score([1, 2], [3, 4])) == want


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"layer_types": ["sliding_attention", "full_attention", "full_attention"]}, "sliding_window does not say"),
        ({"layer_types": ["chunked_attention", "full_attention", "full_attention"]}, "chunked"),
        ({"model_type": "smollm3", "no_rope_layers": [1, 0]}, "no_rope_layers has 2 entries for 3"),
        ({"model_type": "mistral", "layer_types": ["full_attention"] * 3, "sliding_window": 9}, "mistral"),
        ({"model_type": "llama", "layer_types": ["sliding_attention"] * 3, "sliding_window": 9}, "llama"),
        (
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 8,
                    "long_factor": [2.0] * 8,
                    "original_max_position_embeddings": 64,
                }
            },
            "longrope",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config"),
    ],
)
def test_configs_we_would_get_wrong(changes: dict[str, Any], named: str, folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        load_engine(edit(folder, **changes))


def test_rope_that_turns_only_a_part(folder: Path) -> None:
    raw = {**json.loads((folder / "config.json").read_text()), "dtype": "float32"}
    assert from_mapping(raw).qk_norm
    raw["rope_parameters"] = {**raw["rope_parameters"], "partial_rotary_factor": 0.5}
    with pytest.raises(UnsupportedModel, match="partial_rotary_factor"):
        from_mapping(raw)
    raw["rope_parameters"] = {"full_attention": raw["rope_parameters"]}
    with pytest.raises(UnsupportedModel, match="rope_theta"):
        from_mapping(raw)


def test_old_rope_scaling_is_understood(folder: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    del raw["rope_parameters"]
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    (folder / "config.json").write_text(json.dumps({**raw, **old}))
    rope = read_config(folder).rope
    assert (rope["rope_type"], rope["factor"], rope["rope_theta"]) == ("linear", 2.0, 5e5)


def test_yarn_extends_the_context(checkpoint: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    copy = Path(copytree(checkpoint("qwen2-yarn")[0], tmp_path / "copy"))
    assert read_config(edit(copy, max_position_embeddings=64)).context == 256


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"), r"lacks .*model\.layers\.1\.mlp\.up_proj"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), "extra"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(5)}), r"model\.norm\.weight is \(5,\)"),
    ],
)
def test_tensors_that_do_not_fit(change: Callable[[dict[str, Any]], Any], named: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=named):
        load_engine(folder)


def test_files_that_are_not_there_or_broken(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UnsupportedModel, match="cannot be read"):
        load_engine(folder)
    weights.unlink()
    with pytest.raises(UnsupportedModel, match="convert the checkpoint to safetensors"):
        load_engine(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"config\.json"):
        load_engine(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match="cannot be read"):
        load_engine(folder)
    with pytest.raises(UnsupportedModel, match="no folder"):
        resolve(tmp_path / "nowhere")


def test_hub_ids_are_fetched_only_when_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        if name == "someone/missing":
            raise OSError("404")
        return str(folder)

    monkeypatch.setattr("app.engine.load.snapshot_download", fetch)
    assert resolve(folder) == folder
    assert asked == []
    assert resolve("someone/model") == folder
    with pytest.raises(UnsupportedModel, match="someone/missing"):
        resolve("someone/missing")
    assert asked == ["someone/model", "someone/missing"]


async def test_less_memory_means_fewer_sequences(
    start: Start, monkeypatch: pytest.MonkeyPatch, reference: PreTrainedModel
) -> None:
    one = 256 * 3 * 2 * 2 * 16 * 4  # context, layers, keys and values, heads, head_dim, float32
    monkeypatch.setattr("app.engine.load.free_memory", lambda device: int(2.9 * one / SHARE))
    engine = start(max_sequences=4)
    assert (engine.usage().slots, engine.context_length) == (2, 256)
    answers = await asyncio.gather(*(collect(engine, [seed], Sampling(max_tokens=8)) for seed in range(5)))
    assert [numbers(tokens) for tokens in answers] == [greedy(reference, [seed], 8) for seed in range(5)]
    assert start(cache_tokens=2 * 4 * 50).usage().slots == 8
    with pytest.raises(NotEnoughMemory, match=r"8 · 200 tokens .* at most 742,"):
        start(cache_tokens=8 * 200)
    monkeypatch.setattr("app.engine.load.free_memory", lambda device: int(0.9 * one / SHARE))
    with pytest.raises(NotEnoughMemory, match=r"1 · 256 tokens .* set COGCORE_CACHE_TOKENS to at most 230,"):
        start()


def test_free_memory(tmp_path: Path) -> None:
    meminfo, group = tmp_path / "meminfo", tmp_path / "group"
    assert free_on_host(meminfo, group) > 0
    meminfo.write_text("MemTotal:       9000 kB\nMemFree:         100 kB\nMemAvailable:   4000 kB\n")
    assert free_on_host(meminfo, group) == 4000 * 1024
    group.mkdir()
    (group / "memory.stat").write_text("anon 1500\nfile 700\n")
    for limit, free in (("max", 4000 * 1024), ("2000", 500), ("1000", 0)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_on_host(meminfo, group) == free
    assert free_memory("cpu") > 0


async def test_settings(start: Start, folder: Path) -> None:
    small = start(max_sequences=2, cache_tokens=4 * 20)
    assert small.context_length == 20
    assert small.usage().slots == 4
    half = load_engine(folder, dtype="bfloat16", threads=1)
    assert len([token async for token in half.generate([1, 2, 3], Sampling(max_tokens=4))]) == 4
    await half.close()
    wrongs: list[dict[str, Any]] = [{"cache_tokens": 10}, {"dtype": "int8"}, {"max_sequences": 0}, {"queue": 0}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            load_engine(folder, **wrong)


@pytest.mark.parametrize(("least", "threads", "taken"), [(10**9, None, 1), (0, None, 2), (10**9, 3, 3)])
async def test_one_thread_runs_a_small_model(
    least: int, threads: int | None, taken: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "SMALL", least)
    torch.set_num_threads(2)
    try:
        await collect(start(threads=threads), [1, 2, 3], Sampling(max_tokens=1))
        with ThreadPoolExecutor(1) as other:  # what torch tells a thread that it has not met
            assert other.submit(torch.get_num_threads).result() == taken
    finally:
        torch.set_num_threads(1)


def test_parameters_are_those_of_the_matrices(checkpoint: Callable[[str], Checkpoint]) -> None:
    for family in ("qwen3", "qwen2-tied"):
        folder, reference = checkpoint(family)
        matrices = {id(one): one.numel() for one in reference.parameters() if one.dim() == 2}
        assert read_config(folder).parameters == sum(matrices.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_types": ["full_attention", "linear_attention", "full_attention"]},
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        {"position_embedding_type": None},
    ],
)
def test_only_plain_attention_of_granites_hybrids_is_computed(changes: dict[str, Any], tmp_path: Path) -> None:
    checkpoints.write("granite-4", tmp_path)
    edit(tmp_path, layer_types=["attention"] * 3)  # as the published ones call it
    assert read_config(tmp_path).windows == (None, None, None)
    with pytest.raises(UnsupportedModel, match=r"Mamba.*COGCORE_CORE_URL"):
        read_config(edit(tmp_path, **changes))
