"""Decode steps as CUDA graphs: a step that only continues answers is one launch instead of some hundreds.

A step of n sequences is run by the graph of the next larger count. The rows beyond n are tokens of a spare slot, which
is nobody's. A graph is captured when its count is first met.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.attention import Segment
from app.engine.flash import Places

Step = Callable[[], Tensor]
Capture = Callable[[Step], tuple[Callable[[], None], Tensor]]
"""What runs the step again, and the logits that it leaves."""


@dataclass(frozen=True, slots=True)
class _Graph:
    given: Tensor  # [3, count] on the host: ids, slots, positions
    inputs: Tensor  # the same on the device
    replay: Callable[[], None]
    logits: Tensor


class Graphs:
    """`run` is the model: ids and places to logits of all rows. `most` sequences run in a step."""

    def __init__(
        self,
        run: Callable[[Tensor, Places], Tensor],
        spare: int,
        most: int,
        device: torch.device,
        capture: Capture,
    ) -> None:
        self._run, self._spare, self._device, self._capture = run, spare, device, capture
        self._counts = counts(most)
        self._graphs: dict[int, _Graph] = {}

    def logits(self, ids: Sequence[int], segments: Sequence[Segment]) -> Tensor | None:
        """Of all rows, [len(ids), vocabulary], valid until the next call. None where a step is of another kind."""
        if len(ids) > self._counts[-1] or any(segment.count != 1 for segment in segments):
            return None
        count = self._counts[bisect_left(self._counts, len(ids))]
        graph = self._graphs.get(count) or self._captured(count)
        rows = [ids, [segment.slot for segment in segments], [segment.start for segment in segments]]
        # The step before has been read, so its transfer is over and the host's side may be written again.
        graph.given[:, : len(ids)] = torch.tensor(rows)
        graph.given[1, len(ids) :] = self._spare
        graph.inputs.copy_(graph.given, non_blocking=True)
        graph.replay()
        return graph.logits[: len(ids)]

    def _captured(self, count: int) -> _Graph:
        given = torch.zeros(3, count, dtype=torch.long, pin_memory=self._device.type == "cuda")
        given[1] = self._spare
        inputs = given.to(self._device)
        bounds = torch.arange(count + 1, dtype=torch.int32, device=self._device)

        def step() -> Tensor:
            ids, slots, positions = inputs
            places = Places(slots, positions, slots.int()[:, None], (positions + 1).int(), bounds, longest=1)
            return self._run(ids, places)

        replay, logits = self._capture(step)
        graph = self._graphs[count] = _Graph(given, inputs, replay, logits)
        return graph


class Capturing:
    """Captures on the current GPU, into one pool of memory: no two graphs run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            step()  # what kernels set up at their first run must not be captured
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The memory's models run in other threads of this process: what they launch is no part of it.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = step()
        return graph.replay, logits


def counts(most: int) -> list[int]:
    """Of sequences that have a graph of their own: close together where a row more costs most."""
    made = [1, 2, 4, 8]
    while made[-1] < most:
        made.append(made[-1] + 8 if made[-1] < 64 else made[-1] + 32)
    return made[: bisect_left(made, most) + 1]
