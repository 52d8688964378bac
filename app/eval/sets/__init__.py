"""Question sets and document folders that `cogcore eval --build` writes. Nothing in them was trained on.

Data that a set is made from is no part of the package: `--data` names the folder that holds it.
"""

from collections.abc import Callable
from pathlib import Path

from app.eval.sets.built import Built
from app.eval.sets.conflicts import conflicts
from app.eval.sets.counterfactual import counterfactual
from app.eval.sets.decisions import decisions
from app.eval.sets.docs_kb import docs_kb
from app.eval.sets.follow_ups import follow_ups
from app.eval.sets.reckonings import reckonings
from app.eval.sets.squad import leak, squad, squad_absent, squad_given
from app.eval.sets.two_hop import two_hop
from app.eval.sets.unseen_worlds import unseen_worlds

__all__ = ["SETS", "Built"]

SETS: dict[str, Callable[[Path | None, Path], Built]] = {
    "squad": squad,
    "squad-given": squad_given,
    "squad-absent": squad_absent,
    "counterfactual": counterfactual,
    "leak": leak,
    "unseen-worlds": unseen_worlds,
    "follow-ups": follow_ups,
    "two-hop": two_hop,
    "reckonings": reckonings,
    "conflicts": conflicts,
    "docs_kb": docs_kb,
    "decisions": decisions,
}
