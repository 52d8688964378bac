"""What campaigns that look for faults have in common: how they are called, and how they end."""

import argparse
import sys
from collections.abc import Sequence


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Of a campaign with this docstring."""
    made = argparse.ArgumentParser(f"app.bench {name}", description=(about or "").split("\n")[0])
    made.add_argument("--seed", type=int, default=0)
    return made


def end(faults: Sequence[str]) -> None:
    """Tells them; the exit status is 1 if there are any."""
    print(f"{len(faults)} faults")
    for line in faults:
        print(f"  {line}")
    if faults:
        sys.exit(1)
