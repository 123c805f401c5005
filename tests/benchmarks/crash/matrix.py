"""The crash matrix: everything that can befall a campaign, part by part, and what became of it."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from threadpoolctl import threadpool_limits

from tests.benchmarks.crash.clocks import clocks
from tests.benchmarks.crash.full import full
from tests.benchmarks.crash.harm import harm
from tests.benchmarks.crash.hostile import hostile
from tests.benchmarks.crash.kill import kill
from tests.benchmarks.crash.power import power
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import Trial


class Part(Protocol):
    """One kind of accident, many times."""

    def __call__(self, prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
        """Yield what became of each trial, at most so many of each kind, some at a time."""
        ...


PARTS: Mapping[str, Part] = {
    "kill": kill,
    "power": power,
    "full": full,
    "harm": harm,
    "clocks": clocks,
    "hostile": hostile,
}


def run(
    *, parts: tuple[str, ...], most: int | None, workers: int, on_trial: Callable[[Trial], None] = lambda trial: None
) -> list[Trial]:
    """Return what became of every trial of some parts.

    Args:
        parts: Of `PARTS`.
        most: Trials of each kind; by default all.
        workers: Trials at a time.
        on_trial: Is told each as it ends.
    """
    torch.set_num_threads(1)
    trials = []
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="glassmap-crash-") as home:
        prepared = Prepared(Path(home))
        for part in parts:
            for trial in PARTS[part](prepared, most=most, workers=workers):
                trials.append(trial)
                on_trial(trial)
    return trials
