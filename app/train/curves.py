"""The picture of a run: its loss (on a log scale) over the tokens seen, by stages, as an SVG that any browser shows."""

import json
import math
from html import escape
from itertools import groupby
from pathlib import Path

WIDTH, HEIGHT, EDGE = 800, 360, 48
WINDOW = 5  # lines of the log that a point is the mean of
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


def draw(log: Path, picture: Path) -> None:
    """From log.jsonl. Losses of stages do not compare: each has a mixture of its own."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    losses = [line["loss"] for line in lines]
    means = [sum(part) / len(part) for n in range(len(losses)) if (part := losses[max(0, n - WINDOW + 1) : n + 1])]
    least, most, last = min(means), max(means), max(line["tokens"] for line in lines)
    height = (HEIGHT - 2 * EDGE) / max(math.log(most / least), 1e-9)

    def at(n: int) -> str:
        x = EDGE + lines[n]["tokens"] / last * (WIDTH - 2 * EDGE)
        return f"{x:.1f},{HEIGHT - EDGE - math.log(means[n] / least) * height:.1f}"

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<path d="M{EDGE},{EDGE} V{HEIGHT - EDGE} H{WIDTH - EDGE}" fill="none" stroke="#888"/>',
        f'<text x="{EDGE - 6}" y="{EDGE}" text-anchor="end">{most:.2f}</text>',
        f'<text x="{EDGE - 6}" y="{HEIGHT - EDGE}" text-anchor="end">{least:.2f}</text>',
        f'<text x="{WIDTH - EDGE}" y="{HEIGHT - EDGE + 18}" text-anchor="end">{last / 1e6:.1f} M tokens</text>',
    ]
    for n, (stage, group) in enumerate(groupby(range(len(lines)), lambda n: lines[n]["stage"])):
        numbers, colour = list(group), COLOURS[n % len(COLOURS)]
        points = " ".join(at(m) for m in [max(numbers[0] - 1, 0), *numbers])
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = at(numbers[0]).partition(",")[0]
        drawn.append(f'<text x="{x}" y="{EDGE - 8 - n % 2 * 14}" fill="{colour}">{escape(stage)}</text>')
    picture.write_text("\n".join([*drawn, "</svg>"]) + "\n", "utf-8")
