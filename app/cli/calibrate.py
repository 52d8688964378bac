"""`cogcore calibrate`: makes the confidence in answers from one store true there, and recommends when to abstain.

A calibration lies in the data folder, which belongs to one process: a server on the same folder must be stopped first.
"""

import asyncio
import sys
from dataclasses import dataclass

from app.api.parts import Parts
from app.calibration import Calibration, keep
from app.cli.progress import Progress, watch
from app.cores.load import UnknownCore
from app.engine.types import EngineError
from app.eval.calibrate import Outcome, Refit, made, outcomes, refit, usable
from app.eval.questions import EvalError, Question, draw, load
from app.main import build, open_memory
from app.settings import Settings
from index.errors import FolderFault, MemoryFault

MEASURES = {
    "calibration error": "calibration_error",
    "Brier score": "brier",
    "AUROC": "auroc",
    "wrong at half coverage": "half",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for. `file` holds questions in the place of made ones; `wrong` is what may be."""

    store: str
    questions: int
    file: str | None
    seed: int
    wrong: float
    keep_threshold: bool


def calibrate(settings: Settings, wanted: Wanted) -> int:
    """Print the measures before and after, and keep the calibration; the exit status."""
    try:
        asked = None if wanted.file is None else draw(load(wanted.file), wanted.questions)
        asyncio.run(_calibrate(build(settings), wanted, asked))
    except FolderFault as error:
        print(f"cogcore: {error}. Calibrating needs the folder for itself: stop its server first.", file=sys.stderr)
    except (EvalError, MemoryFault, EngineError, UnknownCore) as error:
        print(f"cogcore: {error}", file=sys.stderr)
    else:
        return 0
    return 1


def forget(settings: Settings, store: str) -> int:
    """Answers from the store are again as confident as the core and the reader are; the exit status."""
    try:
        memory = open_memory(settings)
        try:
            keep(memory, store, None)
        finally:
            memory.close()
    except MemoryFault as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    print(f"{store} has no calibration any more.")
    return 0


async def _calibrate(parts: Parts, wanted: Wanted, asked: list[Question] | None) -> None:
    try:
        if not parts.core.profile.judges:
            raise EvalError(f"the core {parts.core.name} did not learn to judge passages: there is nothing to refit.")
        if parts.settings.core_url:
            raise EvalError(
                "COGCORE_CORE_URL: which weights run elsewhere cannot be told, so no fit could hold for them."
            )
        store = parts.memory.store(wanted.store).id
        await asyncio.to_thread(watch, parts.memory, store)
        if asked is None:
            asked = await asyncio.to_thread(made, parts.memory, store, wanted.questions, wanted.seed)
        else:
            asked = usable(asked, parts.memory, store)
        found = refit(await _outcomes(parts, asked, store))
        threshold = found.recommended(wanted.wrong)
        own = threshold if wanted.keep_threshold else None
        keep(parts.memory, store, Calibration(found.slope, found.intercept, parts.judges(), own))
        print(table(found, len(asked)))
        print(_advice(wanted, found, threshold))
    finally:
        await parts.close()


async def _outcomes(parts: Parts, asked: list[Question], store: str) -> list[Outcome]:
    found: list[Outcome] = []
    progress, done = Progress("Asking"), 0
    async for some in outcomes(asked, parts.core, parts.memory, store, parts.settings.max_searches):
        found += some
        done += 1
        progress.show(done, len(asked))
    return found


def table(found: Refit, asked: int) -> str:
    """As plain text, for people."""
    lines = [f"{asked} questions: {found.right} answers right, {found.wrong} wrong (half of them cannot be right)", ""]
    lines.append(f"{'':<26}{'before':>8}{'after':>8}")
    for name, at in MEASURES.items():
        lines.append(f"{name:<26}{getattr(found.before, at):>8.3f}{getattr(found.after, at):>8.3f}")
    lines += ["", f"{'abstain below':<16}{'answered':>10}{'wrong of these':>16}"]
    for point in found.points:
        wrong = "" if point.wrong is None else f"{point.wrong:.0%}"
        lines.append(f"{point.threshold:<16.1f}{point.answered:>10.0%}{wrong:>16}")
    return "\n".join(lines)


def _advice(wanted: Wanted, found: Refit, threshold: float | None) -> str:
    kept = f"\nThe calibration is kept with {wanted.store}, for as long as core and reader stay."
    if found.after == found.before:
        kept = "\nA fit would make the confidence no truer: it stays as it is."
    if threshold is None:
        return f"{kept} No threshold keeps wrong answers at {wanted.wrong:.0%}."
    told = f"{kept} To keep wrong answers at {wanted.wrong:.0%}, abstain below {threshold:.1f}"
    if wanted.keep_threshold:
        return f"{told}: {wanted.store} does from now on."
    return f"{told}: add --keep-threshold, or set COGCORE_ABSTAIN_BELOW."
