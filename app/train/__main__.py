"""`cogcore train STAGE`: makes the reader and the embedded core, a stage at a time. Each can be killed and run again.

cogcore train reader    --data DATA --run RUN      RUN/reader/checkpoint, and RUN/reader/package as the server loads it
cogcore train tokenizer --data DATA --run RUN      RUN/tokenizer
cogcore train traces    --data DATA --run RUN      RUN/{traces,held,chains,reckonings}.jsonl: searches and marks
cogcore train core      --data DATA --run RUN      RUN/core/checkpoint
cogcore train sample    --data DATA --run RUN      RUN/played.jsonl: the core's own turns that came out right
cogcore train check     --data DATA --run RUN      what the checkpoint gets right on fresh rows
cogcore train judge     --data DATA --run RUN      how well its confidence tells answers from none, on held-out traces

All but the first use the run's reader where there is one, else the package's; and so for the tokenizer.

A core of one's own is trained on from the package's, among one's own documents:

cogcore train traces --data DATA --run RUN --documents DIR
cogcore train core   --data DATA --run RUN --start app/cores/tiny --config app/train/further.toml
"""

import argparse
import asyncio
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from app.agent.prompt import Renderer
from app.cores.load import TINY_FOLDER, load_core
from app.cores.profile import TINY
from app.train import export_reader, judge, played, tokenizer, traces
from app.train.check import table
from app.train.core import CoreTask
from app.train.mixture import Mixture
from app.train.reader import ReaderTask
from app.train.readings import Readings
from app.train.rows import Turns
from app.train.run import Run
from app.train.sources import Sources
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader
from index.types import PassageReader

CONFIGS = Path(__file__).parent
GPU_TOKENS = 65536  # that go through the model at once on a GPU


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage; its exit status."""
    parser = argparse.ArgumentParser(
        prog="cogcore train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", type=Path, required=True, help="the training data, laid out as its MANIFEST.md says")
    parser.add_argument("--run", type=Path, required=True, help="the folder that the run is kept in")
    parser.add_argument(
        "--config", type=Path, help="instead of app/train/core.toml; for reader and traces, of reader.toml"
    )
    parser.add_argument("--start", type=Path, help="begin with this checkpoint: a reader's, or a core's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="processes that draw rows ahead of a GPU")
    parser.add_argument("--questions", type=int, default=3000, help="traces: SQuAD questions to search for")
    parser.add_argument("--organisations", type=int, default=30, help="traces: invented ones to search through")
    parser.add_argument("--documents", type=Path, help="traces: search the documents of this folder too")
    parser.add_argument("--worlds", type=int, default=40, help="traces: invented ones where one thing leads to another")
    arguments = parser.parse_args(argv)
    if not (arguments.data / "squad/train.jsonl.xz").is_file():
        parser.error(f"--data: {arguments.data} holds no squad/train.jsonl.xz")
    torch.set_num_threads(arguments.threads)
    STAGES[arguments.stage](arguments)
    return 0


def _config(arguments: argparse.Namespace, stage: str) -> dict[str, Any]:
    return tomllib.loads((arguments.config or CONFIGS / f"{stage}.toml").read_text("utf-8"))


def _at_once(arguments: argparse.Namespace) -> dict[str, int]:
    return {"tokens": GPU_TOKENS} if arguments.device.startswith("cuda") else {}


def _reader(arguments: argparse.Namespace) -> None:
    config = _config(arguments, "reader")
    sources = Sources(arguments.data)
    readings = Readings(sources, config["held_articles"])
    task = ReaderTask(readings, load_reader(), arguments.start, **_at_once(arguments))
    folder = arguments.run / "reader"
    Run(folder, config, task, arguments.device, arguments.workers).train()
    task.export(folder / "checkpoint")
    print(export_reader.package(folder / "checkpoint", folder / "package", readings))


def _tokenizer(arguments: argparse.Namespace) -> None:
    folder = arguments.run / "tokenizer"
    tokenizer.train(Sources(arguments.data), folder)
    (folder / "chat_template.jinja").write_bytes((TINY_FOLDER / "chat_template.jinja").read_bytes())


def _traces(arguments: argparse.Namespace) -> None:
    memory, sources = _memory(arguments, traces.Remembering), Sources(arguments.data)
    articles = _config(arguments, "reader")["held_articles"]
    asked, invented = arguments.questions, arguments.organisations
    # What is held out is for `judge`: a tenth as much, of the same kinds, about other things.
    parts = {
        "traces": (asked, range(invented)),
        "held": (asked // 10, range(invented, invented + max(invented // 10, 1))),
    }
    try:
        for name, (questions, organisations) in parts.items():
            made = traces.Traces(memory, arguments.run / f"{name}.jsonl")
            made.squad(sources, articles, questions, held=name == "held")
            made.organisations(organisations)
            if arguments.documents and name == "traces":
                made.documents(arguments.documents, asked)
            for why, count in made.kept.reasons().items():
                print(f"{name}: {count} searches left out: {why}")
        traces.Traces(memory, arguments.run / "chains.jsonl").worlds(range(arguments.worlds))
        traces.Traces(memory, arguments.run / "reckonings.jsonl").reckonings(range(arguments.worlds))
    finally:
        memory.close()


def _core(arguments: argparse.Namespace) -> None:
    config = _config(arguments, "core")
    task = CoreTask(_mixture(arguments), config, arguments.start, **_at_once(arguments))
    folder = arguments.run / "core"
    Run(folder, config, task, arguments.device, arguments.workers).train()
    task.export(folder / "checkpoint")


def _sample(arguments: argparse.Namespace) -> None:
    articles, count = _config(arguments, "reader")["held_articles"], arguments.questions // 10
    made = played.invented(arguments.organisations, arguments.worlds, each=10)
    asked = [*played.of_squad(Sources(arguments.data), articles, count), *made]
    memory = _memory(arguments)
    core = load_core(str(arguments.run / "core/checkpoint"), arguments.device, threads=arguments.threads)
    try:
        played.sample(core, memory, asked, arguments.run / "played.jsonl")
    finally:
        asyncio.run(core.engine.close())
        memory.close()


def _memory(
    arguments: argparse.Namespace, reading: Callable[[PassageReader], PassageReader] = lambda reader: reader
) -> Memory:
    """The run's, with the run's reader."""
    trained = arguments.run / "reader/package"
    reader = load_reader(str(trained) if trained.exists() else "")
    return Memory(arguments.run / "memory", load_embedder(), reading(reader))


def _check(arguments: argparse.Namespace) -> None:
    mixture = _mixture(arguments)
    model = Qwen3ForCausalLM.from_pretrained(arguments.run / "core/checkpoint", dtype=torch.float32).eval()
    print(table(model, mixture, mixture.kinds, rows=100))


def _judge(arguments: argparse.Namespace) -> None:
    mixture = _mixture(arguments)
    model = Qwen3ForCausalLM.from_pretrained(arguments.run / "core/checkpoint", dtype=torch.float32).eval()
    print(judge.table(model, mixture, (arguments.run / "held.jsonl").read_text("utf-8").splitlines()))


def _mixture(arguments: argparse.Namespace) -> Mixture:
    trained = arguments.run / "tokenizer"
    turns = Turns(Renderer(AutoTokenizer.from_pretrained(trained if trained.exists() else TINY_FOLDER), TINY))
    return Mixture(turns, Sources(arguments.data), arguments.run)


STAGES = {
    "reader": _reader,
    "tokenizer": _tokenizer,
    "traces": _traces,
    "core": _core,
    "sample": _sample,
    "check": _check,
    "judge": _judge,
}

if __name__ == "__main__":
    sys.exit(main())
