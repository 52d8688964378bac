"""Rows 1 and 2: how many tokens a second, for many streams and for one. The prompts' KV is there on our side from a run
that is not timed; only the time in which every stream writes is counted, so that no side is charged for its prompts."""

from app.bench.compare import Budget, Load, Ratio, agreed, steady
from app.bench.peers import Generate, Text, bandwidth, batching, ours, roomy, texts
from app.engine.load import load_engine
from app.engine.local import LocalEngine

LONGER = 4  # one stream writes so many times as many tokens: its steps are short
STEP = 1024  # prompt tokens in a step of continuous batching: its default makes a far larger mask


async def many(load: Load, budget: Budget) -> list[Ratio]:
    prompts = load.drawn(load.streams, load.context, "many")
    config = roomy(load.streams, load.context + load.tokens, max_batch_tokens=max(STEP, load.streams))
    rates: dict[str, list[float]] = {"ours": [], "batching": [], "generate": []}
    same = {"batching": 1.0, "generate": 1.0}
    generate, engine = Generate(load.folder, load.device, load.theirs), _engine(load, load.streams, load.tokens)
    try:
        with batching(load.folder, load.device, config, load.theirs, streamed=False) as batched:
            for _, counts in budget.runs():
                told: dict[str, list[Text]] = {
                    "ours": await texts(ours(engine), prompts, load.tokens),
                    "batching": await texts(batched, prompts, load.tokens),
                    "generate": generate.write(prompts, load.tokens),
                }
                for peer in same:
                    same[peer] = min(same[peer], agreed(told["ours"], told[peer], load.exact))
                if counts:
                    for name, written in told.items():
                        rates[name].append(steady(written))
    finally:
        await engine.close()
    what = f"tokens/s, {load.streams} streams at {load.context}, against"
    return [
        Ratio(1, load.core, f"{what} continuous batching", ">= 4", rates["ours"], rates["batching"], same["batching"]),
        Ratio(1, load.core, f"{what} static generate", ">= 1.2", rates["ours"], rates["generate"], same["generate"]),
    ]


async def one(load: Load, budget: Budget) -> list[Ratio]:
    prompts, tokens = load.drawn(1, load.context, "one"), LONGER * load.tokens
    mine, theirs, same = list[float](), list[float](), 1.0
    generate, engine = Generate(load.folder, load.device, load.theirs), _engine(load, 1, tokens)
    try:
        for _, counts in budget.runs():
            written, other = await texts(ours(engine), prompts, tokens), generate.write(prompts, tokens)
            same = min(same, agreed(written, other, load.exact))
            if counts:
                mine.append(steady(written))
                theirs.append(steady(other))
    finally:
        await engine.close()
    what = f"tokens/s, one stream at {load.context}, against"
    rows = [Ratio(2, load.core, f"{what} generate", ">= 1.3", mine, theirs, same)]
    if load.device != "cpu":  # each token reads every weight once
        weights = sum(file.stat().st_size for file in load.folder.glob("*.safetensors"))
        most = [bandwidth(load.device) / weights] * len(mine)
        rows.append(Ratio(2, load.core, f"{what} what the memory's bandwidth allows", ">= 0.6", mine, most, None))
    return rows


def _engine(load: Load, streams: int, tokens: int) -> LocalEngine:
    return load_engine(
        load.folder,
        load.device,
        dtype=load.dtype,
        max_sequences=streams,
        cache_tokens=2 * streams * (load.context + tokens),
        queue=streams,
        threads=load.threads,
        speculation=0,
    )
