"""`cogcore train STAGE`: makes the embedded core, a stage at a time. Each can be killed and run again.

cogcore train tokenizer --data DATA --run RUN      RUN/tokenizer
cogcore train traces    --data DATA --run RUN      RUN/traces.jsonl: real searches with the reader's marks
cogcore train core      --data DATA --run RUN      RUN/core/checkpoint
cogcore train check     --data DATA --run RUN      what the checkpoint gets right on fresh rows
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from app.agent.prompt import Renderer
from app.cores.load import TINY_FOLDER
from app.cores.profile import TINY
from app.train import tokenizer, traces
from app.train.check import table
from app.train.core import Run
from app.train.mixture import Mixture
from app.train.rows import Turns
from app.train.sources import Sources
from index.embed import load_embedder
from index.memory import Memory
from index.reader import load_reader

CONFIG = Path(__file__).parent / "core.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage; its exit status."""
    parser = argparse.ArgumentParser(
        prog="cogcore train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", type=Path, required=True, help="the training data, laid out as its MANIFEST.md says")
    parser.add_argument("--run", type=Path, required=True, help="the folder that the run is kept in")
    parser.add_argument("--config", type=Path, default=CONFIG, help="stages and sizes (app/train/core.toml)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--articles", type=int, default=70, help="traces: SQuAD articles in the store")
    parser.add_argument("--questions", type=int, default=4000, help="traces: questions to search for")
    arguments = parser.parse_args(argv)
    if not (arguments.data / "squad/train.jsonl.xz").is_file():
        parser.error(f"--data: {arguments.data} holds no squad/train.jsonl.xz")
    torch.set_num_threads(arguments.threads)
    STAGES[arguments.stage](arguments)
    return 0


def _tokenizer(arguments: argparse.Namespace) -> None:
    folder = arguments.run / "tokenizer"
    tokenizer.train(Sources(arguments.data), folder)
    (folder / "chat_template.jinja").write_bytes((TINY_FOLDER / "chat_template.jinja").read_bytes())


def _traces(arguments: argparse.Namespace) -> None:
    memory = Memory(arguments.run / "memory", load_embedder(), load_reader())
    try:
        sources = Sources(arguments.data)
        traces.fill(memory, sources, arguments.articles)
        out = arguments.run / "traces.jsonl"
        dropped = traces.record(memory, sources, arguments.articles, arguments.questions, out)
        print(f"{out}: {dropped} questions dropped, whose answer was found in a paragraph nobody has judged")
    finally:
        memory.close()


def _core(arguments: argparse.Namespace) -> None:
    config = tomllib.loads(arguments.config.read_text("utf-8"))
    mixture = _mixture(arguments)
    Run(arguments.run / "core", config, mixture.turns.renderer.tokenizer, arguments.device).train(mixture)


def _check(arguments: argparse.Namespace) -> None:
    mixture = _mixture(arguments)
    model = Qwen3ForCausalLM.from_pretrained(arguments.run / "core/checkpoint", dtype=torch.float32).eval()
    print(table(model, mixture, mixture.kinds, rows=100))


def _mixture(arguments: argparse.Namespace) -> Mixture:
    words = AutoTokenizer.from_pretrained(arguments.run / "tokenizer")
    return Mixture(Turns(Renderer(words, TINY)), Sources(arguments.data), arguments.run / "traces.jsonl")


STAGES = {"tokenizer": _tokenizer, "traces": _traces, "core": _core, "check": _check}

if __name__ == "__main__":
    sys.exit(main())
