"""What a store's own questions taught about confidence there: a logistic, kept with the store.

Platt (1999), on the logit of what the turn itself says. `cogcore calibrate` fits it (app.eval.calibrate). It holds for
the core and the reader that it was fitted with: beside others it is not used, and the log says so.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from index.memory import Memory

NOTE = "calibration"
SURE = 1e-6  # nearer to 0 or 1 than this the logit says nothing more
log = logging.getLogger("cogcore.calibration")


def logit(confidence: float) -> float:
    """Finite at 0 and 1 too."""
    bounded = min(max(confidence, SURE), 1 - SURE)
    return math.log(bounded / (1 - bounded))


@dataclass(frozen=True, slots=True)
class Calibration:
    """`judges` names the weights it was fitted with; `abstain_below` is the store's own threshold, if it keeps one."""

    slope: float
    intercept: float
    judges: str
    abstain_below: float | None = None

    def __call__(self, confidence: float) -> float:
        """How often an answer of this confidence is right."""
        return 1 / (1 + math.exp(-self.slope * logit(confidence) - self.intercept))


def keep(memory: Memory, store: str, calibration: Calibration | None) -> None:
    """In the place of an earlier one; None forgets it."""
    memory.keep_note(store, NOTE, None if calibration is None else json.dumps(asdict(calibration)))


def kept(memory: Memory, store: str) -> Calibration | None:
    """What the store keeps, whatever it was fitted with."""
    text = memory.note(store, NOTE)
    return None if text is None else Calibration(**json.loads(text))


class Calibrations:
    """Those of a memory's stores that hold for `judges()`, each read once.

    Nobody else changes them meanwhile: calibrating needs the data folder for itself.
    """

    def __init__(self, memory: Memory, judges: Callable[[], str]) -> None:
        self._memory, self._judges = memory, judges
        self._read: dict[str, Calibration | None] = {}

    def of(self, stores: Sequence[str]) -> tuple[Calibration, ...]:
        """One for each of the stores, by their ids; none at all where one of them has none."""
        found = [self._of(store) for store in stores]
        held = tuple(calibration for calibration in found if calibration is not None)
        return held if len(held) == len(found) else ()

    def _of(self, store: str) -> Calibration | None:
        if store not in self._read:
            self._read[store] = self._valid(store)
        return self._read[store]

    def _valid(self, store: str) -> Calibration | None:
        calibration = kept(self._memory, store)
        if calibration is not None and calibration.judges != self._judges():
            log.warning(
                "the calibration of the store %s is not used, since it was fitted with another core or reader: "
                "fit it again with `cogcore calibrate --store %s`, or drop it with --forget",
                store,
                store,
            )
            return None
        return calibration
