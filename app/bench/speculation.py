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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from transformers import PreTrainedTokenizerBase

from app import sample
from app.bench.cores import folder_of
from app.cores.load import TINY_FOLDER, load_tokenizer
from app.engine.load import load_engine
from app.engine.local import LocalEngine
from app.engine.types import Sampling

CONTEXT = 1024
PASSAGES = 4
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


async def compare(name: str, engines: tuple[LocalEngine, LocalEngine], streams: int, repeats: int) -> None:
    """Prints a line: tokens per second off and on, and the median of the ratios of neighbouring runs."""
    tokenizer = load_tokenizer(TINY_FOLDER)
    never = int(tokenizer.eos_token_id)
    answers = [answer(tokenizer, paragraphs(), stream) for stream in range(streams)]
    tokens = sum(len(one.text) for one in answers)
    for engine in engines:
        await run(engine, answers, never)
    offs, ons = list[Run](), list[Run]()
    for _ in range(repeats):
        for engine, runs in zip(engines, (offs, ons), strict=True):
            runs.append(await run(engine, answers, never))
    ratio = median(off.seconds / on.seconds for off, on in zip(offs, ons, strict=True))
    speeds = [tokens / median(one.seconds for one in runs) for runs in (offs, ons)]
    drafted = sum(one.drafted for one in ons)
    right = f"{100 * sum(one.accepted for one in ons) / drafted:.0f} %" if drafted else "-"
    copied = f"{100 * sum(one.copied for one in answers) / tokens:.0f} %"
    line = f"{name:<8}{streams:>8}{tokens:>8}{copied:>8}{speeds[0]:>10.0f}{speeds[1]:>10.0f}{ratio:>8.2f}"
    print(f"{line}{drafted / tokens / repeats:>9.2f}{right:>7}", flush=True)


def measure(name: str, folder: Path, given: argparse.Namespace) -> None:
    most = max(given.streams)
    off, on = (
        load_engine(
            folder,
            max_sequences=most,
            cache_tokens=2 * most * CONTEXT,
            threads=given.threads,
            speculation=speculation,
        )
        for speculation in (0, None)
    )

    async def every() -> None:
        try:
            for streams in given.streams:
                await compare(name, (off, on), streams, given.repeats)
        finally:
            await asyncio.gather(off.close(), on.close())

    asyncio.run(every())


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
            measure(core, folder, given)
