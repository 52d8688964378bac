"""What drafts gain where an answer quotes its passages, and what they cost where many are answered at once.

    cogcore bench speculation [--core tiny random] [--streams 1 32] [--repeats 5]

Two engines with the same weights, drafts off and on, write the same answers in turn. An answer is a text of ours: for
each of four passages of the sample documents a few words of its own, two of the passage's sentences word by word, and
their citation. At every token a mask allows the text's next and one that a bias rules out, so nothing is forced:
each token is run, drawn and verified as in free text, and only the choice is not the core's, whose weights may be
random. Greedy; the prompts' KV is there from a first, untimed run, so what is timed is writing.
"""

import argparse
import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from transformers import PreTrainedTokenizerBase

from app import sample
from app.bench.compare import Budget, Load, Ratio
from app.bench.cores import folder_of
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.engine.load import load_engine
from app.engine.local import LocalEngine
from app.engine.types import Sampling

Engines = tuple[LocalEngine, LocalEngine]
CONTEXT = 1024
PASSAGES = QUARTER = 4
OWN = (
    "To begin with, here is what was written down about your question:",
    "Besides that, another page might also help, since it explains:",
    "Somewhat less directly, but perhaps worth knowing anyway:",
    "Finally, let me mention this remark, which completes the picture:",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and what is to be written after it, `copied` tokens of which stand in the prompt."""

    prompt: list[int]
    text: list[int]
    copied: int


@dataclass(frozen=True, slots=True)
class Run:
    seconds: float
    drafted: int
    accepted: int


def paragraphs() -> list[str]:
    """The sample's paragraphs of at least three sentences."""
    files = sorted((Path(sample.__file__).parent / "documents").glob("*.md"))
    texts = (part.split("\n")[-1].strip() for file in files for part in file.read_text("utf-8").split("\n\n"))
    return [text for text in texts if text.count(". ") >= 2]


def answer(tokenizer: PreTrainedTokenizerBase, passages: Sequence[str], stream: int) -> Answer:
    """One that quotes PASSAGES passages, drawn by the stream's number."""
    drawn = random.Random(stream).sample(passages, PASSAGES)
    prompt = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(drawn, 1)) + "\n\nWhat is known about this?\n\n"
    text, copied = list[int](), 0
    for n, (own, passage) in enumerate(zip(OWN, drawn, strict=True), 1):
        quote = _ids(tokenizer, " " + ". ".join(passage.split(". ")[:2]))
        copied += len(quote)
        text += [*_ids(tokenizer, own), *quote, *_ids(tokenizer, f" [{n}].\n")]
    return Answer(_ids(tokenizer, prompt), text, copied)


def written(streams: int) -> list[Answer]:
    tokenizer, passages = load_tokenizer(TINY_FOLDER), paragraphs()
    return [answer(tokenizer, passages, stream) for stream in range(streams)]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


async def write(engine: LocalEngine, one: Answer, never: int) -> None:
    script = one.text
    mask = Sampling(
        max_tokens=len(script),
        logit_bias=((never, -1e9),),
        mask=lambda generated: [script[len(generated)], never],
    )
    written = [token.id async for token in engine.generate(one.prompt, mask)]
    if written != script:
        raise RuntimeError("the engine has not written what the mask asked for")


async def run(engine: LocalEngine, answers: Sequence[Answer], never: int) -> Run:
    """All answers at once."""
    before, started = engine.usage(), time.perf_counter()
    await asyncio.gather(*(write(engine, one, never) for one in answers))
    seconds, after = time.perf_counter() - started, engine.usage()
    return Run(seconds, after.drafted_tokens - before.drafted_tokens, after.accepted_tokens - before.accepted_tokens)


async def turns(engines: Engines, answers: Sequence[Answer], counted: Iterable[bool]) -> tuple[list[Run], list[Run]]:
    """Drafts off and on in turn, for as often as `counted` says; those runs are returned for which it is true."""
    never = int(load_tokenizer(TINY_FOLDER).eos_token_id)
    runs = list[Run](), list[Run]()
    for counts in counted:
        for engine, seen in zip(engines, runs, strict=True):
            told = await run(engine, answers, never)
            seen += [told] * counts
    return runs


async def compare(name: str, engines: Engines, streams: int, repeats: int) -> None:
    """Prints a line: tokens per second off and on, and the median of the ratios of neighbouring runs."""
    answers = written(streams)
    tokens = sum(len(one.text) for one in answers)
    offs, ons = await turns(engines, answers, [False] + [True] * repeats)
    ratio = median(off.seconds / on.seconds for off, on in zip(offs, ons, strict=True))
    speeds = [tokens / median(one.seconds for one in runs) for runs in (offs, ons)]
    drafted = sum(one.drafted for one in ons)
    right = f"{100 * sum(one.accepted for one in ons) / drafted:.0f} %" if drafted else "-"
    copied = f"{100 * sum(one.copied for one in answers) / tokens:.0f} %"
    line = f"{name:<8}{streams:>8}{tokens:>8}{copied:>8}{speeds[0]:>10.0f}{speeds[1]:>10.0f}{ratio:>8.2f}"
    print(f"{line}{drafted / tokens / repeats:>9.2f}{right:>7}", flush=True)


async def rows(load: Load, budget: Budget) -> list[Ratio]:
    """Row 4: one stream that writes its whole answer, and many that write a quarter of theirs each."""
    found = []
    async with engines_of(load.folder, load.streams, load.threads, load.device) as engines:
        for streams, share, wanted in ((1, 1, ">= 1.6"), (load.streams, QUARTER, ">= 0.97")):
            answers = [replace(one, text=one.text[: len(one.text) // share]) for one in written(streams)]
            tokens = sum(len(one.text) for one in answers)
            offs, ons = await turns(engines, answers, (counts for _, counts in budget.runs()))
            what = f"tokens/s, copied and cited, {streams} streams, drafts over none"
            on, off = ([tokens / one.seconds for one in runs] for runs in (ons, offs))
            found.append(Ratio(4, load.core, what, wanted, on, off, 1.0))  # `write` has seen to it
    return found


@asynccontextmanager
async def engines_of(folder: Path, most: int, threads: int, device: str = "cpu") -> AsyncGenerator[Engines]:
    """Drafts off and on."""
    off, on = (
        load_engine(
            folder,
            device,
            max_sequences=most,
            cache_tokens=2 * most * CONTEXT,
            threads=threads,
            speculation=speculation,
        )
        for speculation in (0, None)
    )
    try:
        yield off, on
    finally:
        await asyncio.gather(off.close(), on.close())


async def measure(name: str, folder: Path, given: argparse.Namespace) -> None:
    async with engines_of(folder, max(given.streams), given.threads) as engines:
        for streams in given.streams:
            await compare(name, engines, streams, given.repeats)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("app.bench speculation", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--core", nargs="+", choices=("tiny", "random"), default=["tiny", "random"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    print("tokens per second with drafts off and on; how many were drafted for each, and the share of these kept")
    print(
        f"{'core':<8}{'streams':>8}{'tokens':>8}{'copied':>8}{'off':>10}{'on':>10}{'on/off':>8}{'drafted':>9}{'kept':>7}"
    )
    for core in given.core:
        with folder_of(core) as folder:
            asyncio.run(measure(core, folder, given))
