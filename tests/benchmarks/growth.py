"""How the store grows: the time of `status`, of planning and of the ledger against the number of measurements."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.planning.acquisition import Coverage, plan_batch
from glassmap.agent.planning.convergence import CurvePoint, Decision, Estimate
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion

ROUNDS = 500
POINTS = 800
SPACE = CompositionSpace(("Co", "V", "Zr", "Cu"), step_at_pct=1)
BATCH = 20
ERRORS = {"mse": 10.0, "delta_q": 0.02, "q1": 0.01}
REPEATS = 3


def run(
    *,
    sizes: Sequence[int] = (0, 100, 1000, 10_000, 100_000),
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a number of measurements in a quaternary: seconds, the best of three."""
    records = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _fill(folder, n)
            seconds = {name: _time(what, folder) for name, what in READINGS.items()}
            size = (folder / "campaign.db").stat().st_size / 1e6
            records.append({"measurements": n, **seconds, "megabytes": size})
            on_record(records[-1])
    return records


def _fill(folder: Path, n: int) -> None:
    """A campaign of up to 500 rounds in which `n` alloys were measured."""
    ranks = np.random.default_rng(0).permutation(len(SPACE))[:n]
    compositions = SPACE.compositions(ranks)
    with CampaignStore.open(folder) as store:
        with store.transaction():
            store.record_axis("q", np.linspace(1, 5, POINTS), None)
            store.record_start(SPACE.elements)
        for round_, rows in enumerate(np.array_split(np.arange(n), min(n, ROUNDS)) if n else [], start=1):
            store.start_stage(round_, "decide")
            batch = []
            for k, row in enumerate(rows):
                alloy = tuple(map(float, compositions[row]))
                batch.append(Suggestion(f"r{round_:03d}-{k + 1:02d}", round_, int(ranks[row]), alloy, k == 0))
            with store.transaction():
                store.record_batch(round_, batch, Coverage(1.0, 2.0, 3.0))
                for suggestion in batch:
                    found = np.array(suggestion.composition)
                    store.record_spectrum(suggestion, found, np.ones(POINTS), backend="lab", facts={"counts": 1.0})
                    store.log("measured", subject=suggestion.id)
                errors = {name: Estimate(value, 0.1 * value) for name, value in ERRORS.items()}
                store.record_curve_point(CurvePoint(round_, int(rows[-1]) + 1, 11.0, None, 0, errors, {}))
                store.record_decision(round_, Decision("continue", "Go on."))
                store.end_stage(round_, "decide", "done")


def _time(what: Callable[[CampaignStore], object], folder: Path) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        with CampaignStore.read_only(folder) as store:
            what(store)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


READINGS: dict[str, Callable[[CampaignStore], object]] = {
    "status": lambda store: (store.status(), store.curve(), store.coverage()),
    "plan": lambda store: plan_batch(SPACE, BATCH, taken=store.taken(), seed=0),
    "pending": lambda store: store.suggestions(pending=True),
    "ledger": lambda store: (store.files(), store.measurements()),
}
